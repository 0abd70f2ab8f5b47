"""A small, real multimodal LLM, made of pretrained parts and aligned by this project's own fine-tuning."""
