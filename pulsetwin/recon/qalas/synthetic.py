"""Images of other sequences, computed from maps of T1, T2 and proton density.

A spin echo with ``n`` inversions ``t_1 < ... < t_n`` before its excitation gives, in the steady state,
``S = PD exp(-TE/T2) (1 + 2 sum_k (-1)^k exp(-t_k/T1) - (-1)^n L)``, where ``L = 2 exp(-(TR-TE/2)/T1) - exp(-TR/T1)``:
T1-, T2- and PD-weighted for n = 0, FLAIR and PSIR for n = 1, DIR for n = 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import brentq

from pulsetwin.errors import ProtocolError
from pulsetwin.sim.signal_models.qalas import after_train, recovered
from pulsetwin.volume import Maps, Volume

WM_T1, CSF_T1 = 0.85, 4.3
"""What double inversion is to null [s], at 3 T."""


@dataclass(frozen=True, slots=True)
class SpinEcho:
    """A spin echo, with inversions before it or without.

    Parameters
    ----------
    tr, te
        Repetition and echo time [s].
    inversions
        From each inversion to the excitation [s], the last one first.
    signed
        Whether the sign is kept, as after a phase-sensitive reconstruction; otherwise the magnitude is.
    """

    tr: float
    te: float
    inversions: tuple[float, ...] = ()
    signed: bool = False

    def __post_init__(self) -> None:
        times = (0.0, *self.inversions, self.tr - self.te / 2)
        if self.te <= 0 or any(late <= soon for soon, late in pairwise(times)):
            raise ProtocolError(f"TE = {self.te:g}, inversions = {self.inversions}, TR = {self.tr:g} s do not fit")

    @property
    def words(self) -> str:
        """The sequence in words."""
        names = ("spin echo", "inversion recovery", "double inversion recovery")
        times = "".join(f", inversion {1e3 * time:.4g} ms before the excitation" for time in self.inversions)
        kind = names[min(len(self.inversions), 2)] + (", signed" if self.signed else "")
        return f"{kind}, TR {1e3 * self.tr:g} ms, TE {1e3 * self.te:g} ms{times}"

    def signal(self, t1: torch.Tensor, t2: torch.Tensor) -> torch.Tensor:
        """Return the signal of unit proton density, ``[...]``."""
        z, sign = torch.ones_like(t1), 1.0
        for time in self.inversions:
            sign = -sign
            z = z + 2 * sign * torch.exp(-time / t1)
        z = z - sign * (2 * torch.exp(-(self.tr - self.te / 2) / t1) - torch.exp(-self.tr / t1))
        value = z * torch.exp(-self.te / t2)
        return value if self.signed else value.abs()


@dataclass(frozen=True, slots=True)
class Mprage:
    """Inversion-prepared trains of spoiled gradient echoes; what the middle one shows. T2* is not known: TE is 0.

    Parameters
    ----------
    tr, ti
        From inversion to inversion, and to the middle excitation [s].
    echo_spacing
        From excitation to excitation [s].
    train_length
        Excitations of a train.
    flip_angle
        Of an excitation [rad].
    """

    tr: float
    ti: float
    echo_spacing: float
    train_length: int
    flip_angle: float

    def __post_init__(self) -> None:
        first = self.ti - self.train_length // 2 * self.echo_spacing
        if first < 0 or first + self.train_length * self.echo_spacing > self.tr:
            raise ProtocolError(f"a train of {self.train_length} does not fit in TI = {self.ti:g}, TR = {self.tr:g} s")

    @property
    def words(self) -> str:
        """The sequence in words."""
        return (
            f"MPRAGE, TR {1e3 * self.tr:g} ms, TI {1e3 * self.ti:g} ms, {self.train_length} excitations of "
            f"{math.degrees(self.flip_angle):g} degrees every {1e3 * self.echo_spacing:g} ms, TE 0"
        )

    def signal(self, t1: torch.Tensor, t2: torch.Tensor) -> torch.Tensor:
        """Return the magnitude of unit proton density, ``[...]``."""
        before = self.train_length // 2
        parts = [_Part(before, self.echo_spacing), _Part(self.train_length - before, self.echo_spacing)]
        b1, wait = torch.ones_like(t1), self.ti - before * self.echo_spacing
        state = recovered((-torch.ones_like(t1), torch.zeros_like(t1)), wait, t1)
        middle = after_train(state, parts[0], self.flip_angle, t1, b1)
        end = after_train(middle, parts[1], self.flip_angle, t1, b1)
        a, b = recovered(end, self.tr - wait - self.train_length * self.echo_spacing, t1)
        return (math.sin(self.flip_angle) * (middle[0] * b / (1 - a) + middle[1])).abs()


@dataclass(frozen=True, slots=True)
class _Part:
    """Some excitations of a train."""

    train_length: int
    echo_spacing: float


def double_inversion(tr: float, te: float, long: float = CSF_T1, short: float = WM_T1) -> SpinEcho:
    """Return the double inversion recovery that nulls two T1 [s]."""

    def left(later: float, t1: float, earlier: float) -> float:
        one = torch.tensor(t1, dtype=torch.float64)
        return float(SpinEcho(tr, te, (later, earlier), signed=True).signal(one, torch.ones_like(one)))

    def earlier(later: float) -> float:
        """Return the first inversion by which the long T1 is null."""
        return float(brentq(lambda time: left(later, long, time), later + 1e-3, tr - te))

    later = float(brentq(lambda time: left(time, short, earlier(time)), 0.2 * short, short))
    return SpinEcho(tr, te, (later, earlier(later)))


def presets() -> dict[str, SpinEcho | Mprage]:
    """Return the usual contrasts by name."""
    return {
        "T1w": SpinEcho(0.5, 0.01),
        "T2w": SpinEcho(4.5, 0.1),
        "PDw": SpinEcho(4.5, 0.01),
        "FLAIR": SpinEcho(15.0, 0.1, (3.0,)),
        "PSIR": SpinEcho(6.0, 0.01, (0.5,), signed=True),
        "DIR": double_inversion(15.0, 0.1),
        "MPRAGE": Mprage(2.3, 0.9, 7e-3, 176, math.radians(9)),
    }


def synthetic(maps: Maps, contrast: SpinEcho | Mprage) -> Volume:
    """Return the image that a sequence would show, in units of proton density, 0 where the maps are not valid.

    Parameters
    ----------
    maps
        ``T1``, ``T2`` [s] and ``PD``.
    contrast
        The sequence, such as one of `presets`.
    """
    valid = maps["T1"].valid & maps["T2"].valid & maps["PD"].valid
    t1, t2, pd = (torch.from_numpy(maps[name].values[valid].astype(np.float64)) for name in ("T1", "T2", "PD"))
    values = np.zeros(valid.shape, np.float32)
    values[valid] = (pd * contrast.signal(t1, t2)).numpy()
    return Volume(values, "", maps["T1"].affine, valid)
