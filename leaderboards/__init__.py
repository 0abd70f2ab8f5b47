"""Forgetting, its statistics, the release gate and the reports. Never imports torch.

Start with `results.read_run` and `forgetting.compare`; `gate.decide` turns a comparison into a verdict. Nothing is
imported here, so that a command's help is there at once.
"""
