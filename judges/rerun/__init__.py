"""Judging logged answers again, and measuring how far judges agree."""
