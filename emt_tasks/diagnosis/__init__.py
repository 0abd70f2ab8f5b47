"""Why a model answers as it does: what each place in it still knows of an image, beside what it writes.

Of every document of a task it is measured which answer the model finds likeliest (`closed_sets`), and what a linear
probe reads from its features at three places on the way from the image to the answer (`features`, `probes`). `measure`
does both for one model and writes what it found; `leaderboards.comparison.causes` sets two models side by side.
"""
