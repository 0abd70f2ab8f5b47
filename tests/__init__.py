"""The tests; a package, since a dependency of lmms-eval installs another `tests` beside it."""
