"""What is known of a particle, and what is to be found: read from TOML."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from pulsetwin.errors import FileError, ProtocolError
from pulsetwin.recon.spin_diffusion.curves import LARGEST
from pulsetwin.settings_file import did_you_mean, read_toml
from pulsetwin.sim.spin_diffusion.layers import SHAPES, Layers

MATERIAL = ("diffusion", "t1", "polarisation", "concentration")
"""What a material is made of."""
BOUNDARIES = ("diffusion", "uniform")
_PLAUSIBLE = {"diffusion": (1e-19, 1e-10, "m^2/s"), "t1": (1e-4, 1e7, "s"), "radius": (1e-10, 1e-2, "m")}
_UP, _DOWN = np.array([1.0, 0.0]), np.array([0.0, 1.0])  # of solid and liquid
_BOTH = _UP + _DOWN


@dataclass(frozen=True, slots=True)
class Material:
    """The solid or the frozen solution.

    Parameters
    ----------
    diffusion
        D [m^2/s].
    t1
        [s].
    polarisation
        P0, what it reaches by itself, in the unit of the curves.
    concentration
        Of the nuclei, in any unit common to both.
    """

    diffusion: float
    t1: float
    polarisation: float
    concentration: float = 1.0


@dataclass(frozen=True, slots=True)
class Particle:
    """A particle and its share of the frozen solution, with what a fit may change.

    Parameters
    ----------
    solid, liquid
        The materials.
    shape
        ``sphere``, ``cylinder`` or ``slab``.
    outer_ratio
        R'/R, known from the volumes of liquid and solid; or
    outer_radius
        R' itself [m].
    free
        What is fitted: ``radius`` and any of `parameters`.
    boundary
        ``diffusion``: polarisation diffuses in the liquid too; ``uniform``: the poster's assumption that the liquid is
        polarised alike everywhere.
    prefit
        With ``uniform``: whether a stretched exponential stands for the liquid's curve, as in the poster.
    radius_range
        Where the radius is looked for [m].
    noise
        Standard deviations of the curves of solid and liquid, if known.

    Raises
    ------
    ProtocolError
        If a value is impossible, or not in SI units by all appearance; or `free` names something that is not there, or
        is 0.
    """

    solid: Material
    liquid: Material
    shape: str = "sphere"
    outer_ratio: float | None = None
    outer_radius: float | None = None
    free: tuple[str, ...] = ("radius",)
    boundary: str = "diffusion"
    prefit: bool = False
    radius_range: tuple[float, float] = (1e-9, 1e-4)
    noise: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name, options in (("shape", tuple(SHAPES)), ("boundary", BOUNDARIES)):
            if getattr(self, name) not in options:
                raise ProtocolError(f"{name} = {getattr(self, name)!r}: take one of {', '.join(options)}")
        for phase in ("solid", "liquid"):
            for one in MATERIAL:
                _check(f"{phase}.{one}", getattr(getattr(self, phase), one), signed=one == "polarisation")
        outer = {name: getattr(self, name) for name in ("outer_ratio", "outer_radius")}
        known = {name: value for name, value in outer.items() if value is not None}
        if len(known) > 1 or (not known and self.boundary == "diffusion"):
            raise ProtocolError("give one of outer_ratio (R'/R) and outer_radius (R' in m), by the volumes prepared")
        for name, value in known.items():
            _check(name, value)
        if self.outer_ratio is not None and self.outer_ratio <= 1:
            raise ProtocolError(f"outer_ratio = {self.outer_ratio}: R'/R is above 1")
        low, high = self.radius_range
        for value in (low, high):
            _check("radius", value)
        if not low < min(high, self.outer_radius or high):
            raise ProtocolError(f"radius_range = {low:g} to {high:g} m: give the lower and the upper end, below R'")
        if self.prefit and self.boundary != "uniform":
            raise ProtocolError("prefit = true is for boundary = 'uniform': the curves are fitted as they are")
        if self.noise is not None:
            for value in self.noise:
                _check("noise", value)
        self._check_free()

    def _check_free(self) -> None:
        for name in self.free:
            if name not in self.parameters:
                told = did_you_mean(name, self.parameters)
                raise ProtocolError(f"free: unknown {name!r}{told}; known: {', '.join(self.parameters)}")
        if "radius" not in self.free or len(set(self.free)) < len(self.free):
            raise ProtocolError(f"free = {list(self.free)}: give 'radius' and others, each once")
        for name in self.free:
            phase, _, one = name.partition(".")
            if one and getattr(getattr(self, phase), one) == 0:
                raise ProtocolError(f"free: {name} is 0, which no factor changes: give about what it may be")
        moves = np.stack([np.concatenate(self.move(name)) for name in self.free])
        if np.linalg.matrix_rank(moves) < len(moves):
            raise ProtocolError(f"free = {list(self.free)}: one of them is the product of others")

    @property
    def parameters(self) -> tuple[str, ...]:
        """What can be free: numbers that the model depends on."""
        if self.boundary == "uniform":
            return ("radius", "solid.diffusion", "solid.t1", "solid.polarisation")
        materials = [f"{phase}.{name}" for phase in ("solid", "liquid") for name in MATERIAL[:3]]
        ratio = () if self.outer_ratio is None else ("outer_ratio",)
        return ("radius", *ratio, "diffusion", "concentration_ratio", *materials)

    @property
    def known(self) -> tuple[str, ...]:
        """What is not fitted: numbers that the model depends on, R' among them where it is given."""
        outer = () if self.outer_radius is None or self.boundary == "uniform" else ("outer_radius",)
        return (*outer, *(name for name in self.parameters if name not in self.free))

    def move(self, name: str) -> tuple[np.ndarray, ...]:
        """Return which numbers grow in proportion to a parameter: 5 times 1 or 0 for solid and liquid.

        In the order of the fields of `Layers`: edges, concentration, D, T1, P0.
        """
        none = np.zeros(2)
        row, moved = {
            "radius": (0, _BOTH if self.outer_radius is None else _UP),
            "outer_ratio": (0, _DOWN),
            "outer_radius": (0, _DOWN),
            "concentration_ratio": (1, _UP),
            "diffusion": (2, _BOTH),
        }.get(name, (None, none))
        if row is None:
            phase, one = name.split(".")
            row, moved = {"diffusion": 2, "t1": 3, "polarisation": 4}[one], _UP if phase == "solid" else _DOWN
        return tuple(moved if index == row else none for index in range(5))

    @property
    def searched(self) -> tuple[float, float]:
        """Return where the radius is looked for [m]: `radius_range`, below R' where that is known and matters."""
        low, high = self.radius_range
        if self.outer_radius is not None and self.boundary == "diffusion":
            high = min(high, 0.999 * self.outer_radius)
        return low, high

    def layers(self, radius: float) -> Layers:
        """Return the particle of a radius [m]."""
        outer = self.outer_radius or radius * float(self.outer_ratio or 0)
        both = (self.solid, self.liquid)
        values = [np.array([getattr(one, name) for one in both]) for name in ("concentration", *MATERIAL[:3])]
        return Layers(self.shape, np.array([radius, outer]), *values)

    @classmethod
    def load(cls, path: str | Path) -> Particle:
        """Read a particle from TOML, with the parameters of this class as keys, [solid] and [liquid] as tables.

        Raises
        ------
        FileError
            If the file cannot be read, is not TOML, or a key is unknown or missing.
        ProtocolError
            As for the class.
        """
        table = read_toml(path)
        _check_keys(path, table, cls, "")
        for phase in ("solid", "liquid"):
            if not isinstance(table[phase], dict):
                raise FileError(path, f"{phase} is no table", f"write [{phase}] and its values below")
            _check_keys(path, table[phase], Material, f"[{phase}]")
            table[phase] = Material(**table[phase])
        for name in ("free", "radius_range", "noise"):
            if name in table:
                pair = name != "free"
                if not isinstance(table[name], list) or (pair and len(table[name]) != 2):
                    raise FileError(path, f"{name} = {table[name]!r}", f"give a list{' of two numbers' * pair}")
                table[name] = tuple(table[name])
        if not isinstance(table.get("prefit", False), bool):
            raise FileError(path, f"prefit = {table['prefit']!r}", "give true or false")
        return cls(**table)


def _check_keys(path: str | Path, table: dict[str, Any], kind: type, where: str) -> None:
    """Raise unless a table has the keys of a class."""
    names = [one.name for one in fields(kind)]
    for key in table:
        if key not in names:
            raise FileError(path, f"unknown key {key!r}{did_you_mean(key, names)}", f"known: {', '.join(names)}", where)
    needed = [one.name for one in fields(kind) if one.default is MISSING]
    missing = [name for name in needed if name not in table]
    if missing:
        raise FileError(path, f"{', '.join(missing)} missing", "add it, numbers in SI units", where)


def _check(name: str, value: Any, *, signed: bool = False) -> None:
    """Raise unless a value is a number, above 0, and likely in SI units."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        raise ProtocolError(f"{name} = {value!r} is no number: give it in SI units")
    if value and not 1 / LARGEST < abs(value) < LARGEST:
        raise ProtocolError(f"{name} is beyond {1 / LARGEST:g} to {LARGEST:g}: give it in SI units, or in another one")
    if value <= 0 and not signed:
        raise ProtocolError(f"{name} = {value:g} is not above 0")
    low, high, unit = _PLAUSIBLE.get(name.split(".")[-1].replace("outer_", ""), (-math.inf, math.inf, ""))
    if not low <= value <= high:
        raise ProtocolError(f"{name} = {value:g} {unit} cannot be: give it in {unit}, {low:g} to {high:g}")
