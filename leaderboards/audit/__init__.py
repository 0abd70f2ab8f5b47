"""Audits: pairs of answers drawn to be labelled by people or an LLM, and what their labels say of a drop.

Start with `drawing.draw`, which makes the rows of a file, and `using.apply`, which puts a labelled file into a
comparison. `page` serves a file to label it. Never imports torch.
"""
