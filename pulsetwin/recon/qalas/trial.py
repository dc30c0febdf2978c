"""A trial fit of some voxels: whether QALAS contrasts are in order, and how much noise the model leaves."""

from __future__ import annotations

import dataclasses
import math
from itertools import permutations

import numpy as np
from scipy.stats import chi2

from pulsetwin.errors import MismatchError
from pulsetwin.recon.qalas.fit import EFFICIENCY_RANGE, Efficiency
from pulsetwin.recon.qalas.maps import map_qalas
from pulsetwin.recon.qalas.transmit_field import on_grid
from pulsetwin.sim.signal_models.qalas_pulses import QalasPulses
from pulsetwin.sim.signal_models.qalas_timing import CONTRASTS, QalasTiming
from pulsetwin.volume import Images, Maps, Volume

_SAMPLE = 4000  # voxels that are tried
# How much less another order leaves if it is taken for the true one, and if it is told. With B1 30 % off or the timing
# of another vendor, the true order leaves at most 1.9 times what another does.
_CLEAR, _TOLD = 2.5, 1.2


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """Some of the brighter voxels of a scan, ``[contrast, 1, 1, voxel]``, with B1 ``[1, 1, voxel]`` and the timing."""

    images: Images
    b1: np.ndarray
    timing: QalasTiming

    def maps(
        self, order: tuple[int, ...] = (), *, ie: Efficiency = EFFICIENCY_RANGE, pulses: QalasPulses | None = None
    ) -> Maps:
        """Return the fit of the voxels, the contrasts taken in another order if one is given."""
        images = dataclasses.replace(self.images, values=self.images.values[list(order)]) if order else self.images
        return map_qalas(images, self.timing, self.b1, ie=ie, pulses=pulses, mask=np.ones(self.b1.shape, bool))


def judge(
    images: Images, timing: QalasTiming, b1: Volume | None = None, noise: float | None = None, *,
    ie: Efficiency = EFFICIENCY_RANGE, pulses: QalasPulses | None = None,
) -> tuple[float | None, tuple[str, ...]]:  # fmt: skip
    """Check the order of the contrasts; return the noise to map them with, and what is to be said.

    Parameters
    ----------
    images, timing, b1, ie, pulses
        As `map_qalas` takes them.
    noise
        Standard deviation of the real part, if it is known; `images.noise_std` is, too.

    Returns
    -------
    float or None
        `noise`, or what a fit leaves; None where `images` know theirs.

    Raises
    ------
    MismatchError
        If the contrasts seem out of order.
    """
    if len(images.values) != CONTRASTS or not images.values[-1].any():
        return noise, ()  # which `map_qalas` refuses
    tried = trial(images, timing, b1)
    said = check_order(tried)
    if noise is not None or images.noise_std is not None:
        return noise, said
    left = noise_left(tried, ie=ie, pulses=pulses)
    share = left / np.median(np.abs(tried.images.values[-1]))
    return left, (
        *said, "The noise of the images is not known: standard deviations are those of what a fit leaves, "
        f"{share:.2g} of the fifth contrast.",
    )  # fmt: skip


def trial(images: Images, timing: QalasTiming, b1: Volume | None = None) -> Trial:
    """Return the voxels to try; B1 is 1 if None."""
    level = np.abs(np.where(np.isfinite(images.values).all(0), images.values[-1], 0)).ravel()
    bright = np.nonzero(level > (np.median(level[level > 0]) if level.any() else 0))[0]
    tried = bright[:: max(len(bright) // _SAMPLE, 1)]
    shape = images.values.shape[1:]
    field = np.ones(shape) if b1 is None else on_grid(b1, images.affine, shape)[0]
    values = images.values.reshape(len(images.values), 1, 1, -1)[..., tried]
    part = dataclasses.replace(images, values=values, noise_std=None, warnings=(), extras={})
    return Trial(part, field.reshape(1, 1, -1)[..., tried], timing)


def check_order(tried: Trial) -> tuple[str, ...]:
    """Return a warning if the model explains magnitudes better in another order of the contrasts.

    The signs of complex images tell their order, and so do labels, which `map_qalas` looks at.

    Raises
    ------
    MismatchError
        If it explains them far better.
    """
    values = tried.images.values
    labelled = any("ECO" in contrast for contrast in tried.images.contrasts)
    if labelled or len(values) != CONTRASTS or np.iscomplexobj(values) or (values < 0).any() or not values.size:
        return ()
    left = {order: _left(tried, order) for order in permutations(range(CONTRASTS))}
    best, given = min(left, key=left.__getitem__), left[tuple(range(CONTRASTS))]
    said = (
        f"the model leaves {given:.2%} of the fifth contrast, but {left[best]:.2%} with the images in the order "
        f"{', '.join(str(k + 1) for k in best)}"
    )
    if given > _CLEAR * left[best]:
        raise MismatchError(
            f"the contrasts seem out of order: {said}; pass the T2-prepared one first, then those after the inversion"
        )
    return (
        (f"The contrasts may be out of order, or B1 or the timing off: {said}.",) if given > _TOLD * left[best] else ()
    )


def noise_left(tried: Trial, *, ie: Efficiency = EFFICIENCY_RANGE, pulses: QalasPulses | None = None) -> float:
    """Return the standard deviation of the noise of the real part, if noise is all that a fit leaves.

    The sum of squares that is left has as many degrees of freedom as contrasts less parameters: one, or two where the
    inversion efficiency is known. Its median is taken, so that vessels and edges count little.
    """
    maps = tried.maps(ie=ie, pulses=pulses)
    left = maps["residual"]
    squares = CONTRASTS * left.values[left.valid].astype(np.float64) ** 2
    free = 1 if pulses is None and isinstance(ie, tuple | str) else 2
    return math.sqrt(np.median(squares) / chi2.median(free)) if squares.size else 0.0


def _left(tried: Trial, order: tuple[int, ...]) -> float:
    """Return the median of what the model leaves in an order, of contrast 5; infinity where none rises at the end."""
    try:
        maps = tried.maps(order)
    except MismatchError:
        return math.inf
    return float(np.median(maps["residual"].values / np.maximum(tried.images.values[-1], 1e-30)))
