"""What a scanner can play: limits, rasters and dead times, from a preset or a TOML file."""

from __future__ import annotations

import math
import tomllib
from dataclasses import MISSING, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsetwin.errors import ProtocolError
from pulsetwin.settings_file import did_you_mean, read_toml

if TYPE_CHECKING:
    import pypulseq

PROTON = 42.576e6
_ZERO_ALLOWED = ("rf_dead_time", "rf_ringdown_time", "adc_dead_time", "adc_samples_limit")
_WHOLE = ("adc_samples_limit", "adc_samples_divisor")
_TABLES = ("forbidden_bands", "pns")


@dataclass(frozen=True, slots=True)
class SafeAxis:
    """One gradient axis of the SAFE model of nerve stimulation (Hebrank and Gebhardt, ISMRM 2000, p. 2007).

    Parameters
    ----------
    tau
        Time constants of the three filters [s].
    weight
        Weights of the three filters, summing to 1.
    stimulation_limit
        Slew rate that counts as 100 % [T/m/s].
    gradient_scale
        Scale of the axis's contribution.
    """

    tau: tuple[float, float, float]
    weight: tuple[float, float, float]
    stimulation_limit: float
    gradient_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Scanner:
    """A scanner's field, limits, rasters and dead times.

    Parameters
    ----------
    vendor, name
        Who made it, and what it is called.
    field_strength
        B0 [T].
    max_gradient
        Largest gradient of one axis [T/m].
    max_slew
        Largest slew rate of one axis [T/m/s].
    max_b1
        Largest transmit field amplitude [T].
    gamma
        Gyromagnetic ratio / 2 pi [Hz/T].
    gradient_raster, rf_raster, adc_raster, block_raster
        Raster times of gradients, RF, dwell time and block duration [s].
    rf_dead_time, rf_ringdown_time
        Time before and after each RF pulse in its block [s].
    adc_dead_time
        Time before and after each acquisition in its block [s].
    adc_samples_limit
        Most samples of one acquisition; 0 for no limit.
    adc_samples_divisor
        The number of samples must be a multiple of this.
    forbidden_bands
        Mechanical resonances: ranges of gradient frequency to stay out of [Hz].
    pns
        SAFE model of the x, y, z axes, or None if unknown.

    Raises
    ------
    ProtocolError
        If a number is missing, negative or not finite.
    """

    vendor: str
    name: str
    field_strength: float
    max_gradient: float
    max_slew: float
    max_b1: float
    gamma: float = PROTON
    gradient_raster: float = 10e-6
    rf_raster: float = 1e-6
    adc_raster: float = 100e-9
    block_raster: float = 10e-6
    rf_dead_time: float = 100e-6
    rf_ringdown_time: float = 20e-6
    adc_dead_time: float = 10e-6
    adc_samples_limit: int = 0
    adc_samples_divisor: int = 1
    forbidden_bands: tuple[tuple[float, float], ...] = ()
    pns: tuple[SafeAxis, SafeAxis, SafeAxis] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("vendor", "name"):
                if not isinstance(value, str):
                    raise ProtocolError(f"scanner: {field.name} = {value!r} is no text: put it in quotes")
            elif field.name not in _TABLES:
                _check_number(field.name, value)
        if any(low < 0 or high <= low for low, high in self.forbidden_bands):
            raise ProtocolError(f"scanner: forbidden_bands = {self.forbidden_bands}: each needs 0 <= low < high in Hz")

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """Return the names that `preset` knows."""
        files = resources.files("pulsetwin").joinpath("scanners").iterdir()
        return tuple(sorted(entry.name[: -len(".toml")] for entry in files if entry.name.endswith(".toml")))

    @classmethod
    def preset(cls, name: str) -> Scanner:
        """Return a scanner that comes with the package, such as ``siemens-prisma``."""
        if name not in cls.presets():
            raise ProtocolError(
                f"no scanner {name!r}{did_you_mean(name, cls.presets())}; known: {', '.join(cls.presets())}"
            )
        text = resources.files("pulsetwin").joinpath("scanners", f"{name}.toml").read_text("utf-8")
        return _from_table(tomllib.loads(text), f"preset {name}")

    @classmethod
    def load(cls, path: str | Path) -> Scanner:
        """Read a scanner from a TOML file with the names of this class's parameters as keys.

        Raises
        ------
        FileError
            If the file cannot be read or is not TOML.
        ProtocolError
            If a key is unknown (the nearest known one is named), missing or out of range.
        """
        return _from_table(read_toml(path), str(path))

    @property
    def opts(self) -> pypulseq.Opts:
        """The limits as `pypulseq.Opts`, complete, so that no default of pypulseq slips in."""
        import pypulseq

        return pypulseq.Opts(
            max_grad=self.max_gradient * self.gamma,
            max_slew=self.max_slew * self.gamma,
            grad_unit="Hz/m",
            slew_unit="Hz/m/s",
            gamma=self.gamma,
            B0=self.field_strength,
            grad_raster_time=self.gradient_raster,
            rf_raster_time=self.rf_raster,
            adc_raster_time=self.adc_raster,
            block_duration_raster=self.block_raster,
            rf_dead_time=self.rf_dead_time,
            rf_ringdown_time=self.rf_ringdown_time,
            adc_dead_time=self.adc_dead_time,
            adc_samples_limit=self.adc_samples_limit,
            adc_samples_divisor=self.adc_samples_divisor,
        )


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ProtocolError(f"scanner: {name} = {value!r} is no number: give it in SI units")
    if value < 0 or (value == 0 and name not in _ZERO_ALLOWED):
        raise ProtocolError(f"scanner: {name} = {value!r} must be above 0: give it in SI units")
    if name in _WHOLE and not isinstance(value, int):
        raise ProtocolError(f"scanner: {name} = {value!r} must be a whole number")


def _from_table(table: dict[str, Any], source: str) -> Scanner:
    names = tuple(field.name for field in fields(Scanner))
    for key in table:
        if key not in names:
            raise ProtocolError(f"{source}: unknown key {key!r}{did_you_mean(key, names)}; known: {', '.join(names)}")
    missing = [field.name for field in fields(Scanner) if field.default is MISSING and field.name not in table]
    if missing:
        raise ProtocolError(f"{source}: {', '.join(missing)} missing: add them in SI units")
    values: dict[str, Any] = {key: float(value) if _is_length(key, value) else value for key, value in table.items()}
    try:
        if "forbidden_bands" in values:
            values["forbidden_bands"] = tuple((float(low), float(high)) for low, high in values["forbidden_bands"])
        if "pns" in values:
            values["pns"] = _pns(values["pns"])
    except (TypeError, ValueError, KeyError) as error:
        raise ProtocolError(
            f"{source}: forbidden_bands or pns cannot be read ({error}): see the Scanner's help"
        ) from None
    return Scanner(**values)


def _is_length(key: str, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and key not in _WHOLE


def _pns(table: dict[str, dict[str, Any]]) -> tuple[SafeAxis, SafeAxis, SafeAxis]:
    x, y, z = (_safe_axis(**table[axis]) for axis in ("x", "y", "z"))
    return x, y, z


def _safe_axis(
    tau: list[float], weight: list[float], stimulation_limit: float, gradient_scale: float = 1.0
) -> SafeAxis:
    (t1, t2, t3), (w1, w2, w3) = tau, weight
    return SafeAxis((t1, t2, t3), (w1, w2, w3), float(stimulation_limit), float(gradient_scale))
