"""Two runs, document by document: pairing, forgetting, leakage, and what changed inside a task."""
