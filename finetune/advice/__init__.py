"""Advice before training: what to train, how fast and on what, with the evidence for each.

`look` says what is looked at: the data's shape (`shape`), its overlap with the evaluation matrix (`overlap`), the model
and the device's memory (`budget`). `rules` is the table of what is proposed when, and why; `evidence` the table of
sources. `recipe` applies the rules and writes the result as a recipe, with the reasons as its comments.

Nothing here evaluates or trains: advice is a guess from what others have measured, and `emt check` is what decides.
"""
