"""Measurements, side by side with peers: `python -m benchmarks.NAME`, from the root of the repository."""
