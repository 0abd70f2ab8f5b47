"""The run: loop, loss, saving, evaluation on the way. Start with `loop.Training.train`."""
