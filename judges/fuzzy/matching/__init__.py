"""Where an answer names a label: exactly, misspelt, or as a number. Start with `matcher.Matcher`."""
