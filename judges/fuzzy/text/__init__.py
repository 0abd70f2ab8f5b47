"""An answer as text: cleaned of its wrapping, folded, and the English words in it. Start with `normalize.fold`."""
