"""The one file of a CEST-MRF study: the pool model, what is sought on which grid, how it was measured, and solutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pulsetwin.errors import FileError, ProtocolError
from pulsetwin.recon.cest_mrf.grid import Cartesian, Grid, Hypercube, spaced
from pulsetwin.recon.cest_mrf.problem import NORMALISATIONS
from pulsetwin.sim.bloch_mcconnell.compile_seq import MODES
from pulsetwin.sim.bloch_mcconnell.entries import OBSERVED
from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel, check_parameter
from pulsetwin.sim.bloch_mcconnell.pools import known, number, parsed, read_pools, whole

WATER_PROTONS = 110e3
"""Concentration of the protons of water, to which fractions relate [mM]."""
_TABLES = ("grid", "measurement", "solutes")
_WORDS = {"mode": MODES, "observe": OBSERVED, "normalisation": NORMALISATIONS}
_MEASUREMENT = {"mode": "physical", "observe": "transverse", "normalisation": "l2"}
_REMEDY = "see docs/how-to/cest.md"


@dataclass(frozen=True, slots=True)
class PhCalibration:
    """How exchange catalysed by a base depends on pH: ``k = offset + rate 10^(pH - at)``.

    Such as 5.57 /s at pH 6.4 without an offset for amide protons of the brain (Zhou et al. 2003, doi:10.1038/nm907).

    Parameters
    ----------
    rate
        What the base adds at the pH `at` [1/s].
    at
        That pH.
    offset
        Exchange rate without it [1/s].
    """

    rate: float
    at: float
    offset: float = 0.0

    def __call__(self, exchange_rate: np.ndarray) -> np.ndarray:
        """Return the pH of exchange rates [1/s], not a number where they are not above the offset."""
        above = np.asarray(exchange_rate, np.float64) - self.offset
        return self.at + np.log10(np.where(above > 0, above, np.nan) / self.rate)


@dataclass(frozen=True, slots=True)
class Solute:
    """What a pool belongs to.

    Parameters
    ----------
    protons
        Of the pool in each molecule.
    water
        Concentration of the protons of water [mM].
    ph
        Its calibration, None where there is none.
    """

    protons: float
    water: float = WATER_PROTONS
    ph: PhCalibration | None = None

    def concentration(self, fraction: np.ndarray) -> np.ndarray:
        """Return concentrations [mM] of fractions."""
        return np.asarray(fraction) * self.water / self.protons


@dataclass(frozen=True, slots=True)
class Study:
    """What a file tells.

    Parameters
    ----------
    model
        Pools and field.
    grid
        Parameters that are sought: of a dictionary, and by their ends the bounds of other methods. None if not told.
    measurement
        ``mode``, ``observe`` and ``normalisation``, as `problem_of` takes them.
    solutes
        By the name of their pool.
    """

    model: PoolModel
    grid: Grid | None
    measurement: dict[str, str]
    solutes: dict[str, Solute]


def read_study(path: str | Path) -> Study:
    """Read a study: the keys of `read_pools`, and the tables ``grid``, ``measurement`` and ``solutes``.

    The grid names each parameter with a list of values, or ``from``, ``to`` and ``step``; with ``samples`` and ``seed``
    it is a Latin hypercube, of which ``from`` and ``to`` are the ends. ``<pool>.concentration`` [mM] stands for the
    fraction where the pool has a solute.

    Raises
    ------
    FileError
        If the file cannot be read, or a key or word is unknown, or no number where there should be one; it is named.
    """
    path = Path(path)
    model = read_pools(path, _TABLES)
    held = parsed(path)
    measurement = _MEASUREMENT | known(path, "measurement", held.get("measurement", {}), _MEASUREMENT)
    for key, word in measurement.items():
        if word not in _WORDS[key]:
            raise FileError(path, f"{key} = {word!r}", f"give one of {', '.join(_WORDS[key])}", "measurement")
    pools = [pool.name for pool in model.pools]
    stated = known(path, "solutes", held.get("solutes", {}), pools)
    solutes = {name: _solute(path, f"solutes.{name}", table) for name, table in stated.items()}
    grid = _grid(path, model, solutes, held["grid"]) if "grid" in held else None
    return Study(model, grid, measurement, solutes)


def _solute(path: Path, where: str, table: Any) -> Solute:
    held = known(path, where, table, ("protons", "water", "ph"))
    numbers = {key: number(path, f"{where}.{key}", held[key]) for key in ("protons", "water") if key in held}
    if "protons" not in numbers or min(numbers.values()) <= 0:
        raise FileError(path, "protons are missing, or not above 0", _REMEDY, where)
    ph = None
    if "ph" in held:
        stated = known(path, f"{where}.ph", held["ph"], ("rate", "at", "offset"))
        values = {key: number(path, f"{where}.ph.{key}", value) for key, value in stated.items()}
        if "rate" not in values or "at" not in values or values["rate"] <= 0:
            raise FileError(path, "give rate, above 0, and at", _REMEDY, f"{where}.ph")
        ph = PhCalibration(**values)
    return Solute(**numbers, ph=ph)


def _grid(path: Path, model: PoolModel, solutes: Mapping[str, Solute], table: Any) -> Grid:
    """Return the grid that a table describes."""
    factors = {name: 1.0 for name, _ in model.parameters()}
    factors |= {f"{name}.concentration": one.protons / one.water for name, one in solutes.items()}
    held = dict(known(path, "grid", table, (*factors, "samples", "seed")))
    settings = {key: whole(path, f"grid.{key}", held.pop(key)) for key in ("samples", "seed") if key in held}
    axes = {}
    for name, stated in held.items():
        values = _values(path, f"grid.{name}", stated, ends="samples" in settings)
        axes[name.replace(".concentration", ".fraction")] = factors[name] * values
    if len(axes) < len(held):
        raise FileError(path, "concentration and fraction of one pool", "give one of both", "grid")
    try:
        for name, values in axes.items():
            if values.size:
                check_parameter(name, float(values.min()))
        if "samples" in settings:
            return Hypercube({name: (values[0], values[-1]) for name, values in axes.items()}, **settings)
        if settings:
            raise ProtocolError("seed is of a hypercube: give samples too")
        return Cartesian(axes)
    except ProtocolError as error:
        raise FileError(path, str(error), _REMEDY) from None


def _values(path: Path, where: str, stated: Any, ends: bool) -> np.ndarray:
    """Return the values of an axis; of a hypercube both `ends` of it."""
    if isinstance(stated, dict):
        keys = ("from", "to") if ends else ("from", "to", "step")
        held = known(path, where, stated, keys)
        if len(held) < len(keys):
            raise FileError(path, f"{sorted(held)}", f"give {', '.join(keys)}", where)
        span = [number(path, f"{where}.{key}", held[key]) for key in keys]
        try:
            return np.array(span) if ends else spaced(*span)
        except ProtocolError as error:
            raise FileError(path, str(error), "", where) from None
    if ends:
        raise FileError(path, f"{stated!r}", "a hypercube takes from and to", where)
    listed = stated if isinstance(stated, list) else [stated]
    return np.array([number(path, where, one) for one in listed])
