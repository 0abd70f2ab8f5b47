"""The demo's data: real handwritten digits, drawn shapes, and questions about both, made on the spot.

A miniature of the 2×2 matrix of arXiv 2603.14493: digits stand for the images that a model is fine-tuned on, shapes
for others. Start with the tasks of the group `demo_matrix`, or train on `demo_digits`. Nothing
here knows lmms-eval, and scikit-learn, whose digits these are, is imported only when they are asked for.
"""

from emt_tasks.demo.tables import NAMES, SPLITS, cached

__all__ = ["NAMES", "SPLITS", "cached"]
