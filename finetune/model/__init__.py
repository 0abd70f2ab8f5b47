"""What is trained: the parts of a model, adapters, loading and merging."""
