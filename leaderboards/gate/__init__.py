"""The gate: a policy, a decision per task and quadrant, and its output for people and machines."""
