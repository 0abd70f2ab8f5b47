"""Tasks, vocabularies, data sources and models for lmms-eval, and the `emt` command.

Start with `emt_tasks.plugin`, which lmms-eval loads, and `emt_tasks/tasks/registry`, the tasks. Importing this package
loads nothing else.
"""
