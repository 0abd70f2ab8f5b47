"""Judges that ask language models: prompts, the chat with a server, its cache, panels, and the cascade."""
