"""A quick protocol of each sequence of the library for each scanner: the objects of a scanner's size, few lines."""

from __future__ import annotations

from typing import Any

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.library import sequence_named

SCANNERS = ("siemens-prisma", "siemens-terra", "bruker-biospec-94")
_FEW: dict[str, dict[str, Any]] = {
    "afi": {"matrix": (16, 16, 8), "dummies": 1},
    "b1_turbo_flash": {"matrix": (32, 16, 1), "slices": 2},
    "bssfp": {"matrix": (32, 16, 1), "dummies": 4},
    "cest_mrf": {"matrix": (16, 16, 1), "b1": (2e-6, 1e-6), "saturation_time": (0.5,)},
    "epi": {"matrix": (32, 32)},
    "flash": {"matrix": (32, 16, 1), "dummies": 2},
    "inversion_recovery": {"matrix": (16, 16, 1), "inversion_times": (0.1, 0.8), "recovery_times": (0.3,)},
    "mprage": {"matrix": (32, 8, 8)},
    "multi_echo": {"matrix": (32, 8), "echoes": 4},
    "qalas": {"matrix": (32, 32, 16), "train": 32, "acceleration": 2.0, "calibration": 4, "noise_samples": 512},
    "radial": {"matrix": (32, 32, 1), "spokes": 9, "dummies": 2},
    "rare": {"matrix": (32, 16), "train": 4},
    "raser": {"angles": 4, "samples": 2048, "pumping": 1.0},
    "saturation_recovery": {"matrix": (16, 16, 1), "recovery_times": (1.0, 0.3)},
    "spiral": {"matrix": (32, 32, 1), "interleaves": 4, "dummies": 2},
    "ute": {"matrix": (16, 16, 16), "spokes": 40, "dummies": 2},
    "wasabi": {"matrix": (16, 16, 1), "offsets": (-1.0, 0.0, 1.0)},
}
_RODENT = (0.03, 0.03, 0.002)
_VOLUMES = {"afi", "mprage", "qalas", "ute"}


def small(name: str, scanner: Scanner) -> Any:
    """Return the protocol of a sequence."""
    kind = sequence_named(name).Protocol
    settings = dict(_FEW[name])
    if scanner.vendor == "bruker" and name != "raser":
        settings["fov"] = (0.03, 0.03, 0.03) if name in _VOLUMES else _RODENT
    return kind(**settings)
