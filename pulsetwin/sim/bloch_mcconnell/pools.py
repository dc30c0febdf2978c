"""Read pool models: the YAML files of Pulseq-CEST, and TOML files of the same keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pulsetwin.errors import FileError, ProtocolError
from pulsetwin.settings_file import did_you_mean, read_toml
from pulsetwin.sim.bloch_mcconnell.pool_model import GAMMA, Pool, PoolModel

T = TypeVar("T")
_WATER = {"f": 1.0, "t1": None, "t2": None}
_POOL = {"f": None, "t1": None, "t2": None, "k": None, "dw": None}
_MODEL: dict[str, Any] = {
    "water_pool": None, "cest_pool": {}, "mt_pool": {}, "b0": None, "gamma": 1e-6 * GAMMA, "b0_inhom": 0.0,
    "rel_b1": 1.0, "reset_init_mag": True, "scale": 1.0, "max_pulse_samples": 500, "verbose": False,
}  # fmt: skip
_LINESHAPES = {
    "lorentzian": "lorentzian",
    "superlorentzian": "super_lorentzian",
    "super_lorentzian": "super_lorentzian",
}
_REMEDY = "see docs/explanation/bloch-mcconnell.md for the keys of a pool model"


def read_pools(path: str | Path, others: Collection[str] = ()) -> PoolModel:
    """Read a pool model.

    Keys and units are those of Pulseq-CEST: `water_pool` with `f`, `t1`, `t2` [s]; `cest_pool` with such a table for
    each name and `k` [1/s] and `dw` [ppm] besides; `mt_pool`, which becomes the pool ``mt``, with those and a
    `lineshape`; `b0` [T], `gamma` [rad/s/uT], `b0_inhom` [ppm], `rel_b1`, `reset_init_mag`, `scale`,
    `max_pulse_samples`. Files whose name ends in ``.toml`` are TOML, all others YAML.

    Parameters
    ----------
    path
        The file.
    others
        Keys that the file may hold for others, and that are left to them.

    Raises
    ------
    FileError
        If the file cannot be read, or a key is missing, unknown or no number in range; it is named.
    """
    path = Path(path)
    held = parsed(path)
    own = {key: value for key, value in held.items() if key not in others} if isinstance(held, dict) else held
    table = _complete(path, "", own, _MODEL)
    water = _complete(path, "water_pool", table["water_pool"], _WATER)
    if number(path, "water_pool.f", water["f"]) != 1:
        raise FileError(path, f"water_pool.f = {water['f']} where fractions are relative to water", "divide all by it")
    pools = [_pool(path, f"cest_pool.{name}", str(name), entry) for name, entry in _tables(path, table["cest_pool"])]
    if table["mt_pool"]:
        pools.append(_semisolid(path, table["mt_pool"]))
    return _checked(
        path, "", PoolModel,
        t1=number(path, "water_pool.t1", water["t1"]), t2=number(path, "water_pool.t2", water["t2"]),
        pools=tuple(pools), b0=number(path, "b0", table["b0"]), gamma=1e6 * number(path, "gamma", table["gamma"]),
        b0_shift=number(path, "b0_inhom", table["b0_inhom"]), b1=number(path, "rel_b1", table["rel_b1"]),
        scale=number(path, "scale", table["scale"]), reset=_flag(path, "reset_init_mag", table["reset_init_mag"]),
        max_pulse_samples=whole(path, "max_pulse_samples", table["max_pulse_samples"]),
    )  # fmt: skip


def parsed(path: Path) -> Any:
    """Return what a TOML or YAML file holds, raising a `FileError` if it is neither."""
    if path.suffix == ".toml":
        return read_toml(path)
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})", "check the name and the permissions") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileError(path, f"is no YAML: {' '.join(str(error).split())}", _REMEDY) from None


def known(path: Path, where: str, table: Any, keys: Collection[str]) -> dict[str, Any]:
    """Return a table, raising a `FileError` if it is none or has a key that is not among `keys`."""
    if not isinstance(table, dict):
        raise FileError(path, f"{table!r} where a table with {', '.join(keys)} belongs", _REMEDY, where)
    for key in table:
        if key not in keys:
            raise FileError(path, f"{key!r} is unknown{did_you_mean(key, keys)}", f"known are {', '.join(keys)}", where)
    return table


def number(path: Path, key: str, value: Any) -> float:
    """Return a finite number, raising a `FileError` if it is none; YAML takes ``1e-3`` without a point for text."""
    try:
        if not isinstance(value, bool) and math.isfinite(float(value)):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise FileError(path, f"{key} = {value!r} is no number", "give a finite one")


def whole(path: Path, key: str, value: Any) -> int:
    """Return a whole number, raising a `FileError` if it is none."""
    stated = number(path, key, value)
    if stated != int(stated):
        raise FileError(path, f"{key} = {value!r} is no whole number", "give one")
    return int(stated)


def _complete(path: Path, where: str, table: Any, keys: dict[str, Any]) -> dict[str, Any]:
    """Return a table with the defaults of `keys`, of which those that are None must be given."""
    held = known(path, where, table, keys)
    missing = [key for key, default in keys.items() if default is None and key not in held]
    if missing:
        raise FileError(path, f"{missing[0]} is missing", _REMEDY, where)
    return keys | held


def _tables(path: Path, entries: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(entries, dict):
        raise FileError(path, f"{entries!r} where a table for each pool belongs", _REMEDY, "cest_pool")
    return entries.items()


def _pool(path: Path, where: str, name: str, entry: Any, lineshape: str | None = None) -> Pool:
    table = _complete(path, where, entry, _POOL)
    f, t1, t2, k, dw = (number(path, f"{where}.{key}", table[key]) for key in _POOL)
    return _checked(
        path, where, Pool, name=name, fraction=f, exchange_rate=k, shift=dw, t1=t1, t2=t2, lineshape=lineshape
    )  # fmt: skip


def _semisolid(path: Path, entry: Any) -> Pool:
    table = _complete(path, "mt_pool", entry, {**_POOL, "lineshape": None})
    stated = str(table.pop("lineshape"))
    lineshape = _LINESHAPES.get(stated.lower())
    if lineshape is None:
        remedy = "give Lorentzian or SuperLorentzian, or a pool without lineshape among cest_pool"
        raise FileError(path, f"lineshape {stated!r} is unknown", remedy, "mt_pool")
    return _pool(path, "mt_pool", "mt", table, lineshape)


def _checked(path: Path, where: str, make: Callable[..., T], **values: Any) -> T:
    """Return what `make` makes; what it complains of is said of the file."""
    try:
        return make(**values)
    except ProtocolError as error:
        raise FileError(path, str(error), "", where) from None


def _flag(path: Path, key: str, value: Any) -> bool:
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise FileError(path, f"{key} = {value!r} is neither true nor false", _REMEDY)
