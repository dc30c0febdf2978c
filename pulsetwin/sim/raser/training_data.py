"""Images and the RASER signals of their projections, in many variations, for networks to learn from.

Signals are sampled at what their width in frequency needs, so that a file of 21 000 images takes 5 GB; noise, of which
there is none in the file, is drawn anew whenever a network sees them. An image and all that is random about it follows
from the seed and its number.
"""

from __future__ import annotations

import math
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from pulsetwin import __version__
from pulsetwin.errors import ProtocolError
from pulsetwin.operators.strips import strip_areas
from pulsetwin.progress import Progress, silent
from pulsetwin.sim.raser.images import random_image
from pulsetwin.sim.raser.projections import emitted, strip_frequencies
from pulsetwin.sim.shards import Layout, fill, opened

FORMAT = "pulsetwin RASER training data 1"
_WHAT = "table of training data"
_SHARD = 20  # images
_PUMPED = 24 / 67, 42 / 67  # where pumps may be, in a projection


@dataclass(frozen=True, slots=True)
class Domain:
    """What is varied, and how; the defaults are those of Becker et al. 2025, where these are published.

    Parameters
    ----------
    matrix
        Pixels along an edge of the image.
    finer
        Modes in a pixel, and pixels of the object in one of the image, along an edge.
    angles
        Projections, evenly within half a turn.
    modes
        Pixels of a projection.
    bandwidth
        Of a pixel [Hz].
    dwell, samples
        From sample to sample [s], and their number; 4 times fewer than published, for the same time.
    t1, t2
        T1 and T2* [s], from the least to the most.
    total
        Inversion in units of the threshold, from the least to the most of an image.
    spread
        Of the inversion between the angles of an image, relative, either way.
    start
        Sizes of the amplitudes at the start, relative to the inversion, least and most of an image.
    pumped
        Share of images with pumps at two places of each projection, and how much the pumps add at most, of the
        inversion.
    pump_decay
        Their decay [s].
    """

    matrix: int = 44
    finer: int = 1
    angles: int = 30
    modes: int = 67
    bandwidth: float = 0.1223
    dwell: float = 4e-3
    samples: int = 1024
    t1: tuple[float, float] = (5.0, 5.0)
    t2: tuple[float, float] = (0.7, 0.7)
    total: tuple[float, float] = (9.0, 11.0)
    spread: float = 0.05
    start: tuple[float, float] = (1e-3, 1e-3)
    pumped: tuple[float, float] = (0.5, 0.5)
    pump_decay: tuple[float, float] = (0.5, 2.0)

    def __post_init__(self) -> None:
        for name in ("t1", "t2", "total", "start", "pump_decay"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise ProtocolError(f"{name} {low:g} to {high:g}: give the least, above 0, and the most")
        if not 0 <= self.spread < 1 or not 0 <= self.pumped[0] <= 1 or self.pumped[1] < 0:
            raise ProtocolError(f"spread {self.spread:g}, pumped {self.pumped}: give shares from 0 to 1")
        for name in ("matrix", "finer", "angles", "modes", "samples"):
            if getattr(self, name) < 1:
                raise ProtocolError(f"{name} {getattr(self, name)}: give 1 or more")

    @property
    def layout(self) -> Layout:
        """Tables of a file."""
        return {
            "image": ((self.matrix, self.matrix), "float32"), "signal": ((self.angles, self.samples), "complex64"),
            "total": ((self.angles,), "float32"), "parameters": ((4,), "float32"),
        }  # fmt: skip


def generate(
    path: str | Path, domain: Domain, images: int, seed: int, *, executor: Executor | None = None, workers: int = 1,
    progress: Progress = silent,
) -> None:  # fmt: skip
    """Write images and signals to a file, or go on where an interrupt ended an earlier call.

    Parameters
    ----------
    path
        The file, HDF5: ``image`` ``[image, y, x]``, ``signal`` ``[image, angle, sample]``, of which the inversion in
        units of the threshold is ``total`` ``[image, angle]``; ``parameters`` ``[image, 4]`` are T1, T2* [s], the size
        of the start and the pumps' decay [s], 0 without.
    domain
        What is varied.
    images
        How many.
    seed
        Of the random numbers, 0 or more. Other seeds give other images: those to test with need one of their own.
    executor
        Where shards are made; processes of this machine if None.
    workers
        Processes, or shards under way in the `executor`.
    progress
        Called with shards done, their number and what is done.

    Raises
    ------
    MismatchError, FileError
        If the file holds something else.
    ProtocolError
        If the seed is below 0.
    """
    if seed < 0:
        raise ProtocolError(f"seed {seed}: give 0 or more")
    facts = {"pulsetwin": __version__, "domain": _told(domain), "seed": seed, "images": images}
    fill(
        Path(path), domain.layout, images, _SHARD,
        lambda row: (some_images, domain, seed, row, min(row + _SHARD, images)),
        kind=FORMAT, what=_WHAT, facts=facts, executor=executor, workers=workers, progress=progress,
    )  # fmt: skip


def training_file(path: str | Path, domain: Domain) -> h5py.File:
    """Return the open file of images of a domain, see `generate`.

    Raises
    ------
    MismatchError, FileError
        If it is of another domain, or no such file.
    """
    return opened(Path(path), FORMAT, _WHAT, {"domain": _told(domain)})


def some_images(domain: Domain, seed: int, first: int, end: int) -> dict[str, NDArray[Any]]:
    """Return the tables of images `first` to `end`, see `generate`."""
    made = [one_image(domain, seed, number) for number in range(first, end)]
    return {name: np.stack([one[name] for one in made]).astype(kind) for name, (_, kind) in domain.layout.items()}


def one_image(domain: Domain, seed: int, number: int) -> dict[str, NDArray[Any]]:
    """Return an image and its signals, see `generate`; in double precision."""
    rng = np.random.default_rng([seed, number])
    fine = random_image(rng, domain.matrix * domain.finer)
    image = fine.reshape(domain.matrix, domain.finer, domain.matrix, domain.finer).mean((1, 3))
    modes = domain.modes * domain.finer
    profiles = (_strips(domain) @ fine.ravel()).reshape(domain.angles, modes)
    t1, t2, total, start, decay = (
        rng.uniform(*getattr(domain, name)) for name in ("t1", "t2", "total", "start", "pump_decay")
    )
    totals = total * (1 + domain.spread * rng.uniform(-1, 1, domain.angles))
    source = np.zeros_like(profiles)
    if pumped := rng.random() < domain.pumped[0]:
        source = _pumps(domain, totals, rng)
    signal = emitted(
        profiles, totals, strip_frequencies(modes, domain.bandwidth / domain.finer), rng, t1=t1, t2=t2, share=start,
        dwell=domain.dwell, samples=domain.samples, pump_source=source, pump_decay=decay,
    )  # fmt: skip
    parameters = np.array([t1, t2, start, decay * pumped])
    return {"image": image, "signal": signal, "total": totals, "parameters": parameters}


def _pumps(domain: Domain, totals: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return sources at two places of each projection, spread over the modes of a pixel, ``[angle, mode]``."""
    source = np.zeros((domain.angles, domain.modes, domain.finer))
    low, high = (int(share * domain.modes) for share in _PUMPED)
    for angle in range(domain.angles):
        for place in rng.integers(low, high + 1, 2):
            source[angle, place] += domain.pumped[1] * rng.random() * totals[angle] / domain.finer
    return source.reshape(domain.angles, -1)


@lru_cache(maxsize=2)
def _strips(domain: Domain) -> csr_array:
    angles = np.pi * np.arange(domain.angles) / domain.angles
    edge = domain.matrix * domain.finer
    return strip_areas((edge, edge), angles, domain.modes * domain.finer)


def _told(domain: Domain) -> dict[str, Any]:
    """Return a domain as JSON holds it."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(domain).items()}
