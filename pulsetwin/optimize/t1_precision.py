"""How precisely an inversion recovery tells T1: by the bound, by fits, and beside the usual times."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pulsetwin.optimize.crlb import jacobian, variances
from pulsetwin.optimize.inversion_recovery import LEAST
from pulsetwin.recon.t1_network import RANGE
from pulsetwin.sim.phantom_tissue import brain_tissues
from pulsetwin.sim.signal_models.inversion_recovery import signals

_COURSES = 4000  # of T1 that a fit compares with
_MOST = 60  # images of a usual one


@dataclass(frozen=True, slots=True)
class Readout:
    """What the trains of all images share: excitations, TR [s], echo time [s] and the images' noise."""

    pulses: int
    tr: float
    te: float
    noise: float


@dataclass(frozen=True, slots=True)
class Usual:
    """An inversion recovery with times of inversion equal in ratio and one recovery.

    Parameters
    ----------
    duration
        From the first inversion to the end of the last image [s].
    images
        How many.
    first, last
        Times from inversion to excitation [s].
    recovery
        From the end of each image to the next inversion [s].
    deviation
        As of `overall`.
    """

    duration: float
    images: int
    first: float
    last: float
    recovery: float
    deviation: float


def deviations(values: Mapping[str, Tensor], readout: Readout) -> Tensor:
    """Return the least relative deviations of T1 of grey matter, white matter and fluid at 3 T, ``[..., 3]``.

    T1 and the signal at equilibrium are unknown; the phase is known.

    Parameters
    ----------
    values
        ``inversion_time`` [s], ``recovery`` [s] and ``flip_angle`` [rad] of a sequence, as of `inversion_recovery`, or
        of several, ``[..., image]``.
    readout
        Of the images.
    """
    tissues = [brain_tissues(3.0)[name] for name in ("grey", "white", "fluid")]
    density = [one.proton_density * math.exp(-readout.te * (1 / one.t2 + 1 / one.t2_prime)) for one in tissues]
    shape = values["inversion_time"].shape[:-1]
    tissue = {
        "t1": torch.tensor([one.t1 for one in tissues], dtype=torch.float64).repeat(math.prod(shape)),
        "density": torch.tensor(density, dtype=torch.float64).repeat(math.prod(shape)),
    }
    each = {name: one.reshape(-1, one.shape[-1]).repeat_interleave(len(tissues), 0) for name, one in values.items()}

    def signal(unknown: dict[str, Tensor]) -> Tensor:
        return unknown["density"][..., None] * _course(unknown["t1"], each, readout)

    found = variances(jacobian(signal, tissue, ("t1", "density")), 1, readout.noise)[:, 0].sqrt() / tissue["t1"]
    return found.reshape(*shape, len(tissues))


def overall(values: Mapping[str, Tensor], readout: Readout) -> Tensor:
    """Return the root mean square of `deviations`, ``[...]``."""
    return deviations(values, readout).square().mean(-1).sqrt()


def fitted_t1(images: Tensor, values: Mapping[str, Tensor], readout: Readout) -> Tensor:
    """Return the T1 [s] whose course fits best, with any complex factor, ``[voxel]``.

    Parameters
    ----------
    images
        Complex ``[image, voxel]``.
    values, readout
        As of `deviations`.
    """
    low, high = RANGE
    t1 = low * (high / low) ** torch.linspace(0, 1, _COURSES, dtype=torch.float64)
    course = _course(t1, values, readout)
    likeness = (course / course.norm(dim=1, keepdim=True)).to(images.dtype) @ images
    return t1[likeness.abs().argmax(0)]


def usual_of(precision: float, readout: Readout, flip_angle: float, recovery: float | None = None) -> Usual | None:
    """Return the shortest usual inversion recovery that is as precise, or None if none of those that are tried is.

    Tried are 3 to 60 images whose times are equal in ratio from 15, 60 or 240 ms to 0.3 to 6 s.

    Parameters
    ----------
    precision
        As of `overall`.
    readout, flip_angle
        Of the images, [rad].
    recovery
        Between images [s]; by default whatever is best of 15 ms to 10 s.
    """
    waits = [recovery] if recovery is not None else [LEAST, *torch.logspace(-1, 1, 13).tolist()]
    lasts = torch.logspace(math.log10(0.3), math.log10(6.0), 14).tolist()
    tried = list(itertools.product((LEAST, 0.06, 0.24), lasts, waits))
    first, last, wait = torch.tensor(tried, dtype=torch.float64).T
    best: Usual | None = None
    for images in range(3, _MOST + 1):
        if best is not None and images * readout.pulses * readout.tr > best.duration:
            break
        values = usual_values(images, first, last, wait, flip_angle)
        deviation, time = overall(values, readout), duration_of(values, readout)
        time = torch.where(deviation <= precision, time, math.inf)
        if float(time.min()) < (math.inf if best is None else best.duration):
            at = int(time.argmin())
            best = Usual(float(time[at]), images, *tried[at], float(deviation[at]))
    return best


def usual_values(images: int, first: Tensor, last: Tensor, recovery: Tensor, flip_angle: float) -> dict[str, Tensor]:
    """Return the values of inversion recoveries with times [s] equal in ratio and one recovery [s], each ``[...]``."""
    place = torch.linspace(0, 1, images, dtype=torch.float64)
    times = first[..., None] * (last / first)[..., None] ** place
    return {
        "inversion_time": times, "recovery": recovery[..., None].expand(*first.shape, images - 1),
        "flip_angle": torch.full_like(times[..., :1], flip_angle),
    }  # fmt: skip


def duration_of(values: Mapping[str, Tensor], readout: Readout) -> Tensor:
    """Return the time from the first inversion to the end of the last train [s], ``[...]``."""
    trains = values["inversion_time"].shape[-1] * readout.pulses * readout.tr
    return values["inversion_time"].sum(-1) + values["recovery"].sum(-1) + trains


def _course(t1: Tensor, values: Mapping[str, Tensor], readout: Readout) -> Tensor:
    return signals(
        t1, values["inversion_time"], values["recovery"], flip_angle=values["flip_angle"], tr=readout.tr,
        pulses=readout.pulses,
    )  # fmt: skip
