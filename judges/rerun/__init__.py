"""Judging logged answers again, and measuring how far two judges agree."""
