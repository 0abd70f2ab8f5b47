"""Judges that ask a language model: prompts, the chat with a server, its cache, and the cascade behind the rules."""
