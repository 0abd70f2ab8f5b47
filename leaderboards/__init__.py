"""Forgetting, its statistics, the release gate and the reports. Never imports torch."""
