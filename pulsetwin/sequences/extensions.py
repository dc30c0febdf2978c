"""Extension lists of `.seq` files: labels, rotations, triggers, soft delays, RF shims."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pulsetwin.sequences.events import NONE, Array, Extensions
from pulsetwin.sequences.seqtext import Section

KNOWN = ("LABELSET", "LABELINC", "ROTATIONS", "TRIGGERS", "DELAYS", "RF_SHIMS")
_KINDS = {"TRIGGERS": "triggers", "DELAYS": "soft_delays", "RF_SHIMS": "shims"}


def read_extensions(table: Section, specs: list[Section], heads: Array) -> tuple[Extensions, list[str]]:
    """Resolve the lists that begin at `heads` (ids in `[EXTENSIONS]`, int64 ``[list]``) and return warnings.

    Unknown extensions are kept by name: the specification lets a reader ignore them.
    """
    names, entries = _specifications(specs)
    links = _links(table)
    rotations = entries.get("ROTATIONS", {})
    rotation_row = {key: row for row, key in enumerate(rotations)}
    found: dict[str, list[Any]] = {key: [] for key in ("labels", "triggers", "soft_delays", "shims", "unknown")}
    rotation = np.full(len(heads), NONE)
    for number, head in enumerate(heads):
        mine: dict[str, list[Any]] = {key: [] for key in found}
        for kind, ref in _walk(table, links, int(head)):
            name = names.get(kind, f"type {kind}")
            if name not in KNOWN:
                mine["unknown"].append(name)
            elif ref not in entries.get(name, {}):
                table.fail(f"extension {name} has no entry {ref}", remedy="the file is cut or edited: export it again")
            elif name == "ROTATIONS":
                rotation[number] = rotation_row[ref]
            else:
                mine[_KINDS.get(name, "labels")].append(entries[name][ref])
        mine["labels"].reverse()
        for key, values in mine.items():
            found[key].append(tuple(values))
    unknown = sorted({name for names in found["unknown"] for name in names})
    warnings = [f"extension {name} is unknown and left out" for name in unknown]
    matrices = np.array([rotations[key] for key in rotations]).reshape(-1, 3, 3)
    return Extensions(rotation=rotation, rotations=matrices, **{k: tuple(v) for k, v in found.items()}), warnings


def _links(table: Section) -> dict[int, tuple[int, int, int]]:
    numbers = table.numbers((4,))
    columns = [table.whole(numbers[:, i], what) for i, what in enumerate(("id", "type", "reference", "next id"))]
    table.unique(columns[0], "extension id")
    return {int(i): (int(t), int(r), int(n)) for i, t, r, n in zip(*columns, strict=True)}


def _walk(table: Section, links: dict[int, tuple[int, int, int]], head: int) -> list[tuple[int, int]]:
    chain: list[tuple[int, int]] = []
    while head:
        if head not in links or len(chain) > len(links):
            problem = "goes round in a circle" if head in links else f"leads to {head}, which does not exist"
            table.fail(f"an extension list {problem}", remedy="the file is cut or edited: export it again")
        kind, ref, head = links[head]
        chain.append((kind, ref))
    return chain


def _specifications(specs: list[Section]) -> tuple[dict[int, str], dict[str, dict[int, Any]]]:
    names: dict[int, str] = {}
    entries: dict[str, dict[int, Any]] = {}
    for section in specs:
        _, name, number = section.name.split()
        if not number.isdigit():
            section.fail(f"extension type {number!r} is not a number")
        names[int(number)] = name
        if name in KNOWN:
            entries[name] = _entries(section, _PARSERS[name])
    return names, entries


def _entries(section: Section, parse: Callable[[list[str]], Any]) -> dict[int, Any]:
    parsed: dict[int, Any] = {}
    for row, line in enumerate(section.lines()):
        words = line.split()
        try:
            parsed[int(words[0])] = parse(words[1:])
        except (ValueError, IndexError, OverflowError):
            section.fail(f"{line[:60]!r} cannot be read", row)
    return parsed


def _finite(word: str) -> float:
    value = float(word)
    if not np.isfinite(value):
        raise ValueError(word)
    return value


def _label(is_set: bool) -> Callable[[list[str]], tuple[bool, str, int]]:
    def parse(words: list[str]) -> tuple[bool, str, int]:
        value = int(words[0])
        if abs(value) >= 2**31:
            raise ValueError(words[0])
        return is_set, words[1].upper(), value

    return parse


def rotation_matrix(words: list[str]) -> Array:
    """Return the matrix of a quaternion ``w x y z``; it rotates a gradient vector ``g`` to ``R g``."""
    quaternion = np.array([_finite(word) for word in words[:4]])
    length = np.linalg.norm(quaternion)
    if len(quaternion) != 4 or not length > 1e-6:
        raise ValueError("no quaternion")
    w, x, y, z = quaternion / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _trigger(words: list[str]) -> tuple[int, int, float, float]:
    return int(words[0]), int(words[1]), 1e-6 * _finite(words[2]), 1e-6 * _finite(words[3])


def _soft_delay(words: list[str]) -> tuple[int, float, float, str]:
    return int(words[0]), 1e-6 * _finite(words[1]), _finite(words[2]), words[3]


def _shim(words: list[str]) -> Array:
    values = np.array([_finite(word) for word in words[1:]]).reshape(int(words[0]), 2)
    return values[:, 0] * np.exp(1j * values[:, 1])


_PARSERS: dict[str, Callable[[list[str]], Any]] = {
    "LABELSET": _label(True),
    "LABELINC": _label(False),
    "ROTATIONS": rotation_matrix,
    "TRIGGERS": _trigger,
    "DELAYS": _soft_delay,
    "RF_SHIMS": _shim,
}
