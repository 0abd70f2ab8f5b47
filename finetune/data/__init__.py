"""What a model is trained on: sources, conversations, mixtures, batches."""
