"""The `emt` command: one module per command, mounted lazily by `app`. Above all packages: it may import all of them."""
