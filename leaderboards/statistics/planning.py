"""How many samples it takes: the drop that a sample could have shown."""

from __future__ import annotations

from math import sqrt

from leaderboards.statistics.interval import normal_quantile


def detectable_drop(n: float, discordant: float, *, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """Return the smallest true drop that McNemar's two-sided test finds with this power, as a proportion.

    `n` pairs, a share `discordant` of which only one model gets right. Solves, for Δ,
    √n·Δ = z_α/2·√ψ + z_β·√(ψ − Δ²) with ψ = discordant; a drop cannot exceed the share of discordant pairs, so where
    the solution would, ψ is set to Δ (nothing is gained) and the equation solved anew.

    Edge case: too few samples for any drop, None.
    Source: Connor, Biometrics 43 (1987) 207–211, its sample-size formula solved for the difference.
    """
    if n <= 0:
        return None
    za, zb = normal_quantile(alpha / 2), normal_quantile(1 - power)
    # (n + zb²)Δ² − 2√(nψ)·za·Δ + (za² − zb²)ψ = 0, larger root
    inner = n * discordant * za**2 - (n + zb**2) * (za**2 - zb**2) * discordant
    drop = (sqrt(n * discordant) * za + sqrt(max(inner, 0.0))) / (n + zb**2)
    if 0 < drop <= discordant:
        return drop
    # ψ = Δ: with s = √(1 − Δ), (n + zb²)s² + 2·za·zb·s + za² − n = 0
    inner = (za * zb) ** 2 - (n + zb**2) * (za**2 - n)
    if inner < 0:
        return None
    s = (sqrt(inner) - za * zb) / (n + zb**2)
    return 1 - s * s if s >= 0 else None
