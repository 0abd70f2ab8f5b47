"""Minority collapse (EMT, §3.1): what happens to a classifier's classes that fine-tuning leaves out."""
