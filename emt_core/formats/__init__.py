"""Runs of other harnesses, read into the same objects as lmms-eval's own.

`known` has the table of formats; each has a module that reads it. `written` turns what they read into a `Run`.
A harness's own package is needed only where its files cannot be read without it, and is imported where it is used.
"""
