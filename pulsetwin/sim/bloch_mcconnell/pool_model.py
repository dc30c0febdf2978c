"""Pool models: water, the pools it exchanges with, and the field they are in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.sequences.seqfile import SeqFile

GAMMA = 267.5153e6
"""Gyromagnetic ratio of protons in Pulseq-CEST [rad/s/T]."""

LINESHAPES = ("lorentzian", "super_lorentzian")
WATER = ("t1", "t2", "b0_shift", "b1")
"""Names of the parameters that are not of a pool."""
OF_POOL = ("fraction", "exchange_rate", "shift", "t1", "t2")
_FIELD_AGREEMENT = 5e-3


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool that exchanges with water.

    Parameters
    ----------
    name
        How its parameters are called, ``<name>.fraction`` and so on.
    fraction
        Equilibrium magnetisation relative to that of water.
    exchange_rate
        From the pool to water [1/s]; the other way it is `fraction` times as large.
    shift
        Chemical shift from water [ppm].
    t1, t2
        Relaxation times [s].
    lineshape
        ``lorentzian`` or ``super_lorentzian`` for a semisolid of which only the longitudinal magnetisation is followed;
        None for a pool with all three components.

    Raises
    ------
    ProtocolError
        If a number is out of range or the lineshape unknown.
    """

    name: str
    fraction: float
    exchange_rate: float
    shift: float
    t1: float
    t2: float
    lineshape: str | None = None

    def __post_init__(self) -> None:
        if not self.name or set(self.name) & set("./\\"):
            raise ProtocolError(f"pool {self.name!r}: give a name without a dot or slash: files are named after it")
        for name in OF_POOL:
            check_parameter(f"{self.name}.{name}", getattr(self, name))
        if self.lineshape not in (None, *LINESHAPES):
            raise ProtocolError(f"{self.name}.lineshape = {self.lineshape!r}: give one of {', '.join(LINESHAPES)}")


@dataclass(frozen=True, slots=True)
class PoolModel:
    """Water and its pools.

    Parameters
    ----------
    t1, t2
        Relaxation times of water [s].
    pools
        The others.
    b0
        Field strength [T].
    gamma
        Gyromagnetic ratio [rad/s/T].
    b0_shift
        Deviation of the field [ppm].
    b1
        Transmit field relative to the nominal one.
    scale
        Magnetisation that a measurement begins with, relative to equilibrium.
    reset
        Whether each measurement begins with it; else the magnetisation is carried on.
    max_pulse_samples
        Samples that Pulseq-CEST plays of a shaped pulse at most.

    Raises
    ------
    ProtocolError
        If a number is out of range or a name is used twice.
    """

    t1: float
    t2: float
    pools: tuple[Pool, ...]
    b0: float
    gamma: float = GAMMA
    b0_shift: float = 0.0
    b1: float = 1.0
    scale: float = 1.0
    reset: bool = True
    max_pulse_samples: int = 500

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name not in ("pools", "reset"):
                signed = field.name in ("b0_shift", "scale")
                _check(field.name, getattr(self, field.name), positive=field.name != "b1", signed=signed)
        names = [pool.name for pool in self.pools]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ProtocolError(f"pool {min(twice)!r} is there twice: give each its own name")

    @property
    def free(self) -> tuple[Pool, ...]:
        """Pools with transverse magnetisation."""
        return tuple(pool for pool in self.pools if pool.lineshape is None)

    @property
    def semisolid(self) -> tuple[Pool, ...]:
        """Pools with longitudinal magnetisation only."""
        return tuple(pool for pool in self.pools if pool.lineshape is not None)

    @property
    def size(self) -> int:
        """Components of the magnetisation: x, y, z of water and each free pool, z of each semisolid."""
        return 3 * (1 + len(self.free)) + len(self.semisolid)

    def parameters(self) -> Iterator[tuple[str, float]]:
        """Yield name and value of each parameter that `simulate` can vary."""
        yield from ((name, getattr(self, name)) for name in WATER)
        for pool in self.free + self.semisolid:
            yield from ((f"{pool.name}.{name}", getattr(pool, name)) for name in OF_POOL)


def check_field(seq: SeqFile, model: PoolModel) -> None:
    """Check that the field of `model` is that of the sequence.

    A `.seq` states it as ``B0`` [T], or its Larmor frequency as ``FREQ`` [MHz]; one that states none passes.

    Raises
    ------
    MismatchError
        If they differ by more than half a percent.
    """
    stated = {"B0": 1.0, "FREQ": 2e6 * math.pi / model.gamma}
    for name, unit in stated.items():
        value = seq.definitions.get(name)
        if isinstance(value, float) and value > 0 and abs(value * unit - model.b0) > _FIELD_AGREEMENT * model.b0:
            raise MismatchError(
                f"{seq.path}: {name} = {value:g} is a field of {value * unit:.4g} T, the pool model's b0 is "
                f"{model.b0:g} T: give the model of that field"
            )


def check_parameter(name: str, value: float) -> None:
    """Raise a `ProtocolError` if a value is not in the range of a parameter that `PoolModel.parameters` names."""
    _check(name, value, positive=name.endswith(("t1", "t2")), signed=name.endswith("shift"))


def _check(name: str, value: float, positive: bool, signed: bool) -> None:
    """Raise a `ProtocolError` if `value` is no number, or not in the range of `name`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ProtocolError(f"{name} = {value!r} is no finite number")
    if not signed and (value < 0 or (positive and value == 0)):
        raise ProtocolError(f"{name} = {value:g}: give a number {'above 0' if positive else 'from 0 on'}")
