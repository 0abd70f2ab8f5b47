"""Forgetting, its statistics, the release gate and the reports. Never imports torch.

Start with `emt_core.runs.read_run` and `comparison.forgetting.compare`; `gate.decide.decide` turns a comparison into a
verdict. Nothing is imported here, so that a command's help is there at once.
"""
