"""The tasks: YAML in `registry`, the hooks that it names, scoring, and the evaluator that runs them."""
