"""The demo's data: real handwritten digits, drawn shapes, and questions about both, generated on first use.

A miniature of the 2×2 matrix of arXiv 2603.14493: digits stand for the images that a model is fine-tuned on, shapes
for others. Asked what type of object it sees, the base names only zero to four and calls the other digits "number", as
a large model calls every breed "dog", because its training data seldom named them. Fine-tuning on that question about
digits teaches the other names; the base already knows the three other quadrants, relative to that fine-tuning: another
question about the same digits, the same question about other images, and both.

Start with the tasks of the group `demo_matrix`, or train on `demo_digits`. Nothing here imports lmms-eval, and
scikit-learn, the source of the digits, is imported only when they are needed.
"""

from emt_tasks.demo.tables import NAMES, SPLITS, cached

__all__ = ["NAMES", "SPLITS", "cached"]
