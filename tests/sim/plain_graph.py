"""A plain extended phase graph of a pypulseq sequence, block by block, written out for comparison only.

States are whole numbers of one spoiler along x. What gradients along z crush is taken as gone; pulses are steps of
Bloch's equations for each of their samples, on resonance; y and z are otherwise left out, diffusion by them too.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm


def bloch_step(amplitude: complex, time: float, t1: float, t2: float) -> np.ndarray:
    """Return the 4 x 4 propagator of x, y, z and 1 under a pulse sample [Hz]."""
    wx, wy = 2 * np.pi * amplitude.real, 2 * np.pi * amplitude.imag
    rates = np.array([
        [-1 / t2, 0, -wy, 0], [0, -1 / t2, wx, 0], [wy, -wx, -1 / t1, 1 / t1], [0, 0, 0, 0],
    ])  # fmt: skip
    return expm(rates * time)


def sampled_pulse(rf, b1: float, t1: float, t2: float, merge: int) -> np.ndarray:
    """Return the propagator of a pulse, `merge` samples at a time with their mean."""
    count = len(rf.signal)
    if np.ptp(np.abs(rf.signal)) < 1e-9 * np.abs(rf.signal).max() and np.ptp(np.angle(rf.signal)) < 1e-9:
        values, step = rf.signal[:1], rf.shape_dur
    else:
        values = rf.signal[: count // merge * merge].reshape(-1, merge).mean(1)
        step = rf.shape_dur / len(values)
    total = np.eye(4)
    for value in values * b1 * np.exp(1j * rf.phase_offset):
        total = bloch_step(complex(value), step, t1, t2) @ total
    return total


class PlainGraph:
    """Magnetisation of the states ``-most .. most``: transverse (complex) and longitudinal."""

    def __init__(self, t1: float, t2: float, diffusion: float, unit: float, most: int = 150) -> None:
        self.t1, self.t2, self.diffusion, self.unit = t1, t2, diffusion, unit
        self.order = np.arange(-most, most + 1)
        self.plus, self.along = np.zeros(2 * most + 1, complex), np.zeros(2 * most + 1, complex)
        self.along[most] = 1
        self.k = 0.0

    def wait(self, time: float, moment: float = 0.0) -> None:
        """Relax, and diffuse while k rises evenly."""
        begin = 2 * np.pi * (self.order * self.unit + self.k)
        end = begin + 2 * np.pi * moment
        b_plus, b_along = time * (begin**2 + begin * end + end**2) / 3, time * (2 * np.pi * self.order * self.unit) ** 2
        self.plus *= np.exp(-time / self.t2 - b_plus * self.diffusion)
        self.along *= np.exp(-time / self.t1 - b_along * self.diffusion)
        self.along[len(self.order) // 2] += 1 - np.exp(-time / self.t1)
        self.k += moment

    def pulse(self, propagator: np.ndarray) -> None:
        """Turn all states; k is a whole number of units."""
        shift = round(self.k / self.unit)
        assert abs(self.k - shift * self.unit) < 1e-3 * self.unit
        self.plus, self.k = np.roll(self.plus, shift), 0.0
        other = self.plus[::-1].conj()  # the transverse state that is conjugate to each
        x, y = (self.plus + other) / 2, (self.plus - other) / 2j
        x, y, z = np.einsum("ij,jn->in", propagator[:3, :3], np.stack((x, y, self.along)))
        middle = len(self.order) // 2
        x[middle], y[middle], z[middle] = np.array([x, y, z])[:, middle] + propagator[:3, 3]
        self.plus, self.along = x + 1j * y, z


def first_excitations(seq, tissue: tuple[float, float, float], b1: float, length: int) -> np.ndarray:
    """Return transverse magnetisation, along where the pulse turns it, after the first of each `length` short pulses.

    Short pulses are those below a millisecond with an acquisition before the next; crushers are gradients along z
    above 2 ms.
    """
    t1, t2, diffusion = tissue
    blocks = [seq.get_block(number) for number in seq.block_events]
    areas = [block.gx.area if block.gx is not None else 0.0 for block in blocks]
    excited = [i for i, block in enumerate(blocks) if block.rf is not None and block.rf.shape_dur < 0.2e-3]
    unit = sum(areas[excited[0] : excited[1]])
    graph, known, found = PlainGraph(t1, t2, diffusion, unit), {}, []
    for number, block in enumerate(blocks):
        if block.rf is not None:
            rf = block.rf
            key = (len(rf.signal), round(rf.phase_offset % (2 * np.pi), 9))
            if key not in known:
                known[key] = sampled_pulse(rf, b1, t1, t2, 4)
            graph.wait(rf.delay)
            graph.pulse(known[key])
            if number in excited:
                turned = graph.plus[len(graph.order) // 2] * np.exp(-1j * (rf.phase_offset + np.pi / 2))
                found.append(turned.real * np.exp(rf.shape_dur / 2 / t2))
            graph.wait(block.block_duration - rf.delay - rf.shape_dur)
            continue
        if block.gz is not None and block.gz.type == "trap" and block.block_duration > 2e-3 and block.adc is None:
            graph.plus[:] = 0
        graph.wait(block.block_duration, areas[number])
    return np.array(found)[::length]
