"""Cases of coupled modes, and their equations written out for a general solver."""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp

T1, T2, WIDTH = 5.0, 0.7, 8.19  # [s], [s], [Hz]


def modes_of(total: float, modes: int = 67, seed: int = 0, share: float = 1e-3) -> tuple[np.ndarray, ...]:
    """Inversions that add up to `total` times the threshold, frequencies [Hz] and random small amplitudes."""
    rng = np.random.default_rng(seed)
    place = np.arange(modes) - (modes - 1) / 2
    profile = np.convolve(rng.random(modes) * (abs(place) < modes / 3), np.ones(3) / 3, "same")
    inversion = profile * total / profile.sum()
    return inversion, place * WIDTH / modes, share * inversion * np.exp(2j * np.pi * rng.random(modes))


def solved(
    inversion,
    frequency,
    start,
    dwell,
    samples,
    *,
    t1=T1,
    t2=T2,
    coupling=1.0,
    source=0.0,
    rate=0.0,
    decay=1e9,
    rtol=1e-12,
):  # fmt: skip
    """Return the states ``[3, mode, sample]`` by DOP853."""
    modes = len(inversion)

    def slope(time, y):
        re, im, n = y.reshape(3, modes)
        a = re + 1j * im
        signal = a.sum()
        da = (2j * np.pi * frequency - 1 / t2) * a + n * signal / t2
        dn = -n / t1 - coupling / t2 * (a.conj() * signal).real + np.exp(-time / decay) * (source - rate * n)
        return np.concatenate([da.real, da.imag, dn])

    begin = np.concatenate([start.real, start.imag, inversion])
    times = np.arange(samples) * dwell
    done = solve_ivp(slope, (0, times[-1]), begin, "DOP853", times, rtol=rtol, atol=1e-14)
    return done.y.reshape(3, modes, samples)
