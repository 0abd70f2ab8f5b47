"""The tasks: YAML in `registry`, the hooks it names, scoring, and the evaluator that runs them."""
