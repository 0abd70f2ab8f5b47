"""The run: loop, loss, saving, evaluation during training. Start with `loop.Training.train`."""
