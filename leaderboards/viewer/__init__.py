"""A local page over running and finished checks: `server` answers its requests, `finding` says what is in a folder.

Samples are read from an index (`index`), page by page (`browsing`): nothing is loaded whole.
"""
