"""Fine-tuning recipes for multimodal LLMs."""
