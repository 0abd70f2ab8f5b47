"""The `emt` command: one module a command, mounted lazily by `app`. Above all packages: it may import every one."""
