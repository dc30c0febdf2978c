"""When a 3D-QALAS plays what: one T2-prepared and four inversion-prepared trains of gradient echoes per repetition."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from pulsetwin.errors import FileError, ProtocolError
from pulsetwin.settings_file import did_you_mean

CONTRASTS = 5

# T2 preparation and its spoiler, the spoiler alone, the inversion, and from its end to the next train [s].
_VENDORS = {
    "siemens": (109.7e-3, 9.7e-3, 12.8e-3, 93.55e-3),
    "philips": (106.98e-3, 6.22e-3, 13.059e-3, 106.98e-3),
    "ge": (92.8e-3, 2.34e-3, 16.2e-3, 89.4e-3),
}
_SPACING = {"siemens": 0.9, "philips": 0.9, "ge": 60 / 66.67}  # from train to train [s]
_DEFINITIONS = {
    "t2prep_start": "T2prepStart",
    "t2prep_te": "T2prepTE",
    "inversion_start": "InversionStart",
    "inversion_duration": "InversionDuration",
    "train_starts": "TrainStarts",
    "train_length": "TrainLength",
    "echo_spacing": "EchoSpacing",
    "flip_angles": "FlipAngles",
    "repetition_time": "TR",
}


@dataclass(frozen=True, slots=True)
class QalasTiming:
    """Times of a repetition, all since its start.

    Parameters
    ----------
    t2prep_start, t2prep_te
        Centre of the first 90 degree pulse, and from there to that of the last [s].
    inversion_start, inversion_duration
        Of the inversion pulse [s].
    train_starts
        First excitation of each of the five trains [s].
    train_length
        Excitations of a train.
    echo_spacing
        From excitation to excitation [s].
    flip_angles
        Nominal flip angle of each train's excitations [rad].
    repetition_time
        From one T2 preparation to the next [s].
    """

    t2prep_start: float
    t2prep_te: float
    inversion_start: float
    inversion_duration: float
    train_starts: tuple[float, ...]
    train_length: int
    echo_spacing: float
    flip_angles: tuple[float, ...]
    repetition_time: float

    def __post_init__(self) -> None:
        if not len(self.train_starts) == len(self.flip_angles) == CONTRASTS:
            raise ProtocolError(
                f"QALAS: {len(self.train_starts)} trains with {len(self.flip_angles)} flip angles: give {CONTRASTS}"
            )
        if not all(0 < angle < math.pi / 2 for angle in self.flip_angles) or self.train_length < 1:
            raise ProtocolError(
                f"QALAS: flip_angles = {self.flip_angles} rad, train_length = {self.train_length}: give angles "
                "between 0 and pi / 2, and at least 1 excitation"
            )
        for (before, begin), (after, end) in pairwise(self._events):
            if end < begin - 1e-9:
                raise ProtocolError(
                    f"QALAS: {after} is at {1e3 * end:.3f} ms, before {before} at {1e3 * begin:.3f} ms: check the times"
                )

    @property
    def _events(self) -> tuple[tuple[str, float], ...]:
        # what follows a train may begin before its last echo spacing is over
        last = (self.train_length - 1) * self.echo_spacing
        trains = [
            (f"the {what} excitation of train {number}", start + later)
            for number, start in enumerate(self.train_starts, 1)
            for what, later in (("first", 0.0), ("last", last))
        ]
        return (
            ("the T2 preparation", self.t2prep_start), ("the end of the T2 preparation", self.t2prep_end), *trains[:2],
            ("the inversion", self.inversion_start), ("the end of the inversion", self.inversion_end), *trains[2:],
            ("the next T2 preparation", self.repetition_time + self.t2prep_start),
        )  # fmt: skip

    @property
    def train_duration(self) -> float:
        """Duration of a train [s]."""
        return self.train_length * self.echo_spacing

    @property
    def t2prep_end(self) -> float:
        """Centre of the last 90 degree pulse [s]."""
        return self.t2prep_start + self.t2prep_te

    @property
    def inversion_end(self) -> float:
        """End of the inversion pulse [s]."""
        return self.inversion_start + self.inversion_duration

    @classmethod
    def preset(cls, vendor: str, *, train_length: int = 128, echo_spacing: float = 5.8e-3) -> QalasTiming:
        """Return the timing that published processing assumes for the product or prototype sequence of a vendor.

        Parameters
        ----------
        vendor
            ``siemens``, ``philips`` or ``ge``.
        train_length, echo_spacing
            Excitations of a train and the time between them [s], which differ from protocol to protocol.
        """
        if vendor not in _VENDORS:
            raise ProtocolError(f"no QALAS timing of {vendor!r}; there are {', '.join(_VENDORS)}")
        prepared, spoiler, inversion, ti = _VENDORS[vendor]
        starts = tuple(prepared + k * _SPACING[vendor] for k in range(CONTRASTS))
        return cls(
            0.0, prepared - spoiler, starts[1] - ti - inversion, inversion, starts, train_length, echo_spacing,
            (math.radians(4),) * CONTRASTS, CONTRASTS * _SPACING[vendor],
        )  # fmt: skip

    @classmethod
    def from_definitions(cls, definitions: Mapping[str, Any]) -> QalasTiming:
        """Return the timing that a `.seq` states in its ``[DEFINITIONS]``, times in s and flip angles in rad.

        Raises
        ------
        ProtocolError
            If some are missing: the `.seq` is no QALAS, or not one that this package wrote.
        """
        missing = [name for name in _DEFINITIONS.values() if name not in definitions]
        if missing:
            raise ProtocolError(
                f"the .seq does not define {', '.join(missing)}: it is no QALAS of pulsetwin; pass the timing as a "
                "vendor's preset or a JSON file"
            )
        return cls._from({name: definitions[key] for name, key in _DEFINITIONS.items()})

    @classmethod
    def from_json(cls, path: str | Path) -> QalasTiming:
        """Return the timing in a JSON file: an object of this class's fields, or ``preset`` and what differs from it.

        Raises
        ------
        FileError
            If the file is no JSON object, or has fields that are not known or not all.
        """
        try:
            values = dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as problem:
            raise FileError(path, f"is no JSON object ({problem})", "give the fields of QalasTiming") from None
        preset, known = values.pop("preset", None), [field.name for field in fields(cls)]
        for name in set(values) - set(known):
            raise FileError(path, f"{name!r} is not known{did_you_mean(name, known)}")
        if preset is not None:
            base = cls.preset(preset)
            values = {name: getattr(base, name) for name in known} | values
        missing = [name for name in known if name not in values]
        if missing:
            raise FileError(path, f"has no {', '.join(missing)}", "add them, or a preset")
        return cls._from(values)

    @classmethod
    def _from(cls, values: Mapping[str, Any]) -> QalasTiming:
        """Return the timing of plain numbers and lists of them."""
        plain = {name: tuple(map(float, value)) if isinstance(value, list | tuple) else float(value)
                 for name, value in values.items()}  # fmt: skip
        return cls(**{**plain, "train_length": round(plain["train_length"])})
