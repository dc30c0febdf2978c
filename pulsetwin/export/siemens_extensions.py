"""Labels, triggers and soft delays of a pypulseq sequence as sections of a `.seq` file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pulsetwin.errors import ProtocolError
from pulsetwin.export.seq_rules import COUNTERS, FLAGS, LARGEST_COUNTER, LONGEST_HINT, ONCE_VALUES
from pulsetwin.export.siemens_values import number, whole

if TYPE_CHECKING:
    import pypulseq

Sections = list[tuple[str, list[str]]]


def extension_texts(sequence: pypulseq.Sequence, modern: bool) -> tuple[dict[int, int], Sections]:
    """Return the new number of each extension list, and the sections that define them.

    Raises
    ------
    ProtocolError
        If the version has no place for an extension, or a value is out of range.
    """
    nodes: dict[tuple[int, int, int], int] = {}
    kinds: dict[str, int] = {}
    entries: dict[str, dict[str, int]] = {}
    numbers = {0: 0}
    for block, row in sequence.block_events.items():
        head, after = int(row[6]), 0
        if head in numbers:
            continue
        for kind, reference in reversed(chain(sequence, head)):
            try:
                text = _row(sequence, kind, reference, modern)
            except ValueError as error:
                raise ProtocolError(f"block {block}, extension {kind}: {error}") from None
            rows = entries.setdefault(kind, {})
            entry = rows.setdefault(text, len(rows) + 1)
            after = nodes.setdefault((kinds.setdefault(kind, len(kinds) + 1), entry, after), len(nodes) + 1)
        numbers[head] = after
    sections: Sections = [("[EXTENSIONS]", [f"{i} {kind} {ref} {after}" for (kind, ref, after), i in nodes.items()])]
    for kind, rows in entries.items():
        sections.append((f"extension {kind} {kinds[kind]}", [f"{i} {text}" for text, i in rows.items()]))
    return numbers, sections


def chain(sequence: pypulseq.Sequence, head: int) -> list[tuple[str, int]]:
    """Return kind and reference of each entry of an extension list, in the order of the list."""
    names = dict(zip(sequence.extension_numeric_idx, sequence.extension_string_idx, strict=True))
    found = []
    while head:
        kind, reference, head = (int(value) for value in sequence.extensions_library.data[head])
        found.append((str(names[kind]), reference))
    return found


def label(sequence: pypulseq.Sequence, kind: str, reference: int) -> tuple[float, str]:
    """Return value and name of an entry LABELSET or LABELINC."""
    from pypulseq.supported_labels_rf_use import get_supported_labels

    library = sequence.label_set_library if kind == "LABELSET" else sequence.label_inc_library
    value, place = library.data[reference]
    return value, get_supported_labels()[int(place) - 1]


def _row(sequence: pypulseq.Sequence, kind: str, reference: int, modern: bool) -> str:
    rows: dict[str, Callable[[], str]] = {
        "LABELSET": lambda: _label(*label(sequence, kind, reference), is_set=True),
        "LABELINC": lambda: _label(*label(sequence, kind, reference), is_set=False),
        "TRIGGERS": lambda: _trigger(*sequence.trigger_library.data[reference]),
        "DELAYS": lambda: _soft_delay(*sequence.soft_delay_library.data[reference], modern=modern),
    }
    if kind not in rows:
        raise ValueError("neither 1.4.1 nor 1.5.0 has it; apply rotations and shims to the events themselves")
    return rows[kind]()


def _label(value: Any, name: str, *, is_set: bool) -> str:
    if not float(value).is_integer():
        raise ValueError(f"label {name} {value} is not a whole number; choose one that is")
    if name not in COUNTERS and not is_set:
        raise ValueError(f"flag {name} cannot be incremented; set it")
    allowed = range(-LARGEST_COUNTER * (not is_set), LARGEST_COUNTER + 1)
    if name not in COUNTERS:
        allowed = range(2 if name in FLAGS else ONCE_VALUES)
    if int(value) not in allowed:
        raise ValueError(f"label {name} {int(value)} is not in {allowed[0]}..{allowed[-1]}; choose one that is")
    return f"{int(value)} {name}"


def _trigger(kind: float, channel: float, delay: float, duration: float) -> str:
    times = f"{whole(delay, 1e-6, 'delay', 'us')} {whole(duration, 1e-6, 'duration', 'us')}"
    return f"{int(kind)} {int(channel)} {times}"


def _soft_delay(place: float, offset: float, factor: float, hint: str, *, modern: bool) -> str:
    if not modern:
        raise ValueError("1.4.1 has no soft delays; write 1.5, or fix them with Sequence.apply_soft_delay")
    if place < 0 or not hint or hint.split() != [hint] or len(hint) > LONGEST_HINT:
        raise ValueError(
            f"soft delay {place} {hint!r} needs a number from 0 and a name of one word, at most {LONGEST_HINT} letters"
        )
    sign = -1 if offset < 0 else 1
    return f"{int(place)} {sign * whole(abs(offset), 1e-6, 'offset', 'us')} {number(factor, 'factor')} {hint}"
