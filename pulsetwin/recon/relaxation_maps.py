"""What maps of T1 and of T2 share: the times of a `.seq`, and which voxels are valid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.definitions import stated_numbers
from pulsetwin.recon.levenberg import Fitted
from pulsetwin.recon.voxels import Voxels
from pulsetwin.volume import Maps

_NARROW = 1e-3  # relative distance from an end of the range within which a value counts as at the end
_LATEST = 20.0  # s, after which nothing recovers or echoes: a longer time is in ms
_UNKNOWN = 1.0  # relative deviation from which a time is not known


def stated_times(definitions: Mapping[str, Any], name: str, count: int, what: str) -> np.ndarray:
    """Return the times that a definition states [s], ``[image]``.

    Raises
    ------
    ProtocolError
        If it is missing, or states no times that are finite, or such that would be in ms.
    ShapeError
        If there are not as many images.
    """
    times = stated_numbers(definitions, name)
    if times is None:
        raise ProtocolError(f"{what}: the .seq does not define {name}, the time of each image in s: add it, or pass "
                            "the .seq of the images")  # fmt: skip
    if len(times) != count:
        raise ShapeError(f"{what}: there are {count} images, but the .seq has {len(times)} times {name}: give all")
    middle = float(np.median(times))
    if middle > _LATEST:
        raise ProtocolError(f"{what}: {name} is about {middle:.4g}, which would be s: give it in s, not in ms")
    return times


def relaxation_maps(
    found: Voxels,
    fitted: Fitted,
    name: str,
    span: tuple[float, float],
    plausible: np.ndarray,
    others: Mapping[str, tuple[np.ndarray, str]],
) -> Maps:
    """Return the time constant of `fitted` as the map `name`, its deviation, `others` and ``residual``.

    Valid are the voxels that are `plausible`, whose time is off the ends of its range `span` [s] and known better than
    by its own size.
    """
    constant, deviation = fitted.values[1], fitted.deviation[1]
    inside = (constant > span[0] * (1 + _NARROW)) & (constant < span[1] * (1 - _NARROW))
    valid = plausible & inside & (deviation < _UNKNOWN * constant)
    maps = {name: (constant, "s"), **others, f"{name}_std": (deviation, "s")}
    maps["residual"] = np.sqrt(fitted.misfit / found.data.shape[1]), ""
    said = [] if valid.all() else [f"{1 - valid.mean():.1%} of the voxels have no {name} that the images tell."]
    return Maps(found.volumes(maps, valid), tuple(said))
