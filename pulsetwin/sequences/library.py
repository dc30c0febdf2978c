"""The sequences that can be designed, by name: each is a module with a `Protocol` and a `build`."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from pulsetwin.errors import ProtocolError
from pulsetwin.settings_file import did_you_mean

NAMES = (
    "afi", "b1_turbo_flash", "bssfp", "cest_mrf", "epi", "flash", "inversion_recovery", "mprage", "multi_echo", "qalas",
    "radial", "rare", "raser", "saturation_recovery", "spiral", "ute", "wasabi",
)  # fmt: skip


def sequence_named(name: str) -> ModuleType:
    """Return the module of a sequence.

    Raises
    ------
    ProtocolError
        If there is none; the nearest name is told.
    """
    if name not in NAMES:
        raise ProtocolError(f"no sequence {name!r}{did_you_mean(name, NAMES)}; there are {', '.join(NAMES)}")
    return import_module(f"pulsetwin.sequences.{name}")


def summary(name: str) -> str:
    """Return what a sequence is, in a line."""
    return (sequence_named(name).__doc__ or "").strip().splitlines()[0]
