"""Pulseq shapes, kept as the corners of a piecewise linear curve.

Pulseq stores a shape as the run-length code of its derivative, so that a constant pulse of 15 s takes nine numbers.
Runs of equal derivative are straight lines: we keep their ends and never need the samples between (Pulseq
specification 1.5.1, section "Shapes").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LARGEST_EXPANSION = 50_000_000


@dataclass(frozen=True, slots=True)
class Shape:
    """A waveform whose samples lie on straight lines between corners.

    Parameters
    ----------
    num_samples
        Number of samples of the decompressed waveform.
    index
        Sample numbers of the corners, int64 ``[corner]``, from 0 to ``num_samples - 1``, increasing.
    value
        Values at the corners, float64 ``[corner]``.
    """

    num_samples: int
    index: np.ndarray
    value: np.ndarray

    def at(self, index: np.ndarray) -> np.ndarray:
        """Return the values at the sample numbers `index` (fractions lie on the line between two samples)."""
        return np.interp(index, self.index, self.value)

    def samples(self) -> np.ndarray:
        """Return all samples, float64 ``[num_samples]``.

        Raises
        ------
        ValueError
            If there are more than `LARGEST_EXPANSION`; use the corners.
        """
        if self.num_samples > LARGEST_EXPANSION:
            raise ValueError(f"a shape of {self.num_samples} samples is too long to expand: use its corners")
        return self.at(np.arange(self.num_samples))


def plain(samples: np.ndarray) -> Shape:
    """Return the shape of stored samples, float64 ``[num_samples]``."""
    return Shape(len(samples), np.arange(len(samples)), samples)


def decode(packed: np.ndarray, num_samples: int, *, always_packed: bool = False) -> Shape:
    """Decode a stored shape.

    Two equal derivatives in a row are followed by the number of further repetitions.

    Parameters
    ----------
    packed
        The numbers in the file, float64 ``[stored]``.
    num_samples
        The length that the file states; as many stored numbers mean that they are not packed.
    always_packed
        True for versions before 1.4, which packed every shape.

    Raises
    ------
    ValueError
        If the numbers do not make `num_samples` samples.
    """
    if not np.all(np.isfinite(packed)):
        raise ValueError("it holds numbers that are not finite")
    if len(packed) == num_samples and not always_packed:
        return plain(packed)
    step, count = _runs(packed)
    total = int(count.sum()) if count.max(initial=0) < 2**40 else -1
    if total != num_samples:
        raise ValueError(f"it decodes to {total} samples where num_samples says {num_samples}")
    end = np.cumsum(count) - 1
    value = np.cumsum(step * count)
    if count[0] > 1:
        end, value = np.concatenate(([0], end)), np.concatenate((step[:1], value))
    return Shape(num_samples, end, value)


def _runs(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return derivative and repetitions of each run: float64 ``[run]``, int64 ``[run]``."""
    step, count, at = [], [], 0
    for pair in np.nonzero(packed[1:] == packed[:-1])[0]:
        if pair < at:
            continue
        if pair + 2 >= len(packed):
            raise ValueError("it ends where a repetition count is due")
        more = packed[pair + 2]
        if more < 0 or more != np.floor(more):
            raise ValueError(f"its repetition count {more:g} is not a whole number")
        step += [packed[at:pair], packed[pair : pair + 1]]
        count += [np.ones(pair - at), np.array([more + 2])]
        at = int(pair) + 3
    step.append(packed[at:])
    count.append(np.ones(len(packed) - at))
    counts = np.concatenate(count)
    if not len(counts):
        raise ValueError("it holds no numbers")
    return np.concatenate(step), np.minimum(counts, 2.0**41).astype(np.int64)
