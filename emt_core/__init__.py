"""What every package stands on: errors, files, runs. Imports nothing of this project, never torch or lmms-eval."""
