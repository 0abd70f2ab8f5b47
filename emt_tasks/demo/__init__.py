"""The demo's data: real handwritten digits, drawn shapes, and questions about both, generated on first use.

A miniature of the 2×2 matrix of arXiv 2603.14493: digits stand for the images that a model is fine-tuned on, shapes
for others. The base reads all ten digits if a question asks for a number, but asked what type of object it sees, it
names only zero to four and calls the rest "number", as a large model calls every breed "dog". Fine-tuning on that
question about digits teaches it the other names; the three other quadrants, with another question, other images or
both, it knows from the start.

Start with the tasks of the group `demo_matrix`, or train on `demo_digits`. Nothing here imports
lmms-eval, and scikit-learn, the source of the digits, is imported only when they are needed.
"""

from emt_tasks.demo.tables import NAMES, SPLITS, cached

__all__ = ["NAMES", "SPLITS", "cached"]
