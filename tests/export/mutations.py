"""A good sequence as text, and ways to spoil one place of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pypulseq as pp

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import encoding, line, lobe
from pulsetwin.sequences.slice_pulse import slice_pulse

LINES, FOV, SLICE = 8, 0.2, 5e-3
ZEROS = 1
BLOCKS_A_LINE = 5
PULSE, PREPHASER, READ, REWINDER, SPOILER = range(BLOCKS_A_LINE)
COLUMNS = {"RF": 2, "GX": 3, "GY": 4, "GZ": 5, "ADC": 6, "EXT": 7}
_HOMES = {"RF": ("RF",), "GX": ("TRAP", "GRADIENTS"), "ADC": ("ADC",)}
_HOMES |= {"GY": _HOMES["GX"], "GZ": _HOMES["GX"]}
Parts = dict[str, list[str]]
Edit = Callable[[Parts], None]


def block_of(number: int, part: int) -> int:
    """Return the block of a part of line `number`: one that sets the labels to 0 comes first."""
    return ZEROS + BLOCKS_A_LINE * number + part + 1


def good(scanner: Scanner) -> pp.Sequence:
    """Return a gradient echo of lines that run to and fro, with RF spoiling, labels and shaped spoilers."""
    seq, opts = pp.Sequence(scanner.opts), scanner.opts
    pulse = slice_pulse(0.3, SLICE, 2e-3, 4.0, "excitation", scanner)
    read = line(64, FOV, 500.0, 1, scanner)
    times = np.array([0.0, 1e-3, 2e-3, 3e-3])
    spoiler = pp.make_extended_trapezoid("z", times=times, amplitudes=np.array([0, 4e5, 4e5, 0]), system=opts)
    seq.add_block(pp.make_delay(1e-3), *(pp.make_label(name, "SET", 0) for name in ("LIN", "REV", "NAV", "SLC")))
    for number in range(LINES):
        way, k = (-1) ** number, encoding(number, LINES, FOV)
        phase = 1.0 + 2.0 * number * (number + 1) / 2 % 5.0
        read.adc.phase_offset = phase
        seq.add_block(*pulse.tuned(0.0, phase))
        seq.add_block(
            lobe("x", -way * read.before, 2e-3, scanner), lobe("y", k, 2e-3, scanner),
            lobe("z", -pulse.after, 2e-3, scanner),
        )  # fmt: skip
        labels = [pp.make_label("LIN", "SET", number), pp.make_label("REV", "SET", number % 2)]
        seq.add_block(pp.scale_grad(read.read, way), read.adc, *labels)
        seq.add_block(lobe("y", -k, 2e-3, scanner), pp.make_delay(3e-3))
        seq.add_block(spoiler)
    seq.set_definition("FOV", [FOV, FOV, SLICE])
    seq.set_definition("Name", "good")
    return seq


def taken_apart(text: str) -> Parts:
    """Return the lines of each section by its header; those before the first stand under an empty name."""
    parts: Parts = {"": []}
    name = ""
    for row in text.split("\n"):
        if row.startswith(("[", "extension ")):
            name = row
            parts[name] = []
        else:
            parts[name].append(row)
    return parts


def put_together(parts: Parts) -> str:
    """Return the text of `parts`, signed anew if it was signed."""
    rows = [row for name, body in parts.items() for row in ([name] if name else []) + body]
    text = "\n".join(rows)
    signed, mark, rest = text.rpartition("\n[SIGNATURE]")
    if not mark:
        return text
    old = next(row for row in rest.split("\n") if row.startswith("Hash"))
    return signed + mark + rest.replace(old, f"Hash {hashlib.md5(signed.encode('latin-1')).hexdigest()}")


def find(parts: Parts, section: str, number: int) -> int:
    """Return which row of a section has an id."""
    return next(i for i, row in enumerate(parts[section]) if row.split()[:1] == [str(number)])


def data(parts: Parts, section: str) -> list[int]:
    """Return which rows of a section hold data."""
    return [i for i, row in enumerate(parts[section]) if row.strip() and not row.startswith("#")]


def change(section: str, number: int, column: int, word: object) -> Edit:
    """Replace a word in the row of a section that has the id `number`."""

    def edit(parts: Parts) -> None:
        row = find(parts, section, number)
        words = parts[section][row].split()
        words[column] = str(word)
        parts[section][row] = " ".join(words)

    return edit


def block(number: int, column: int, word: object) -> Edit:
    """Replace a word of a block: its duration (1), events (2 to 6) or extension list (7)."""
    return change("[BLOCKS]", number, column, word)


def event(number: int, kind: str, changes: dict[int, object]) -> Edit:
    """Give a block an event of its own in which some columns are changed; a function changes what stands there."""

    def edit(parts: Parts) -> None:
        used = int(parts["[BLOCKS]"][find(parts, "[BLOCKS]", number)].split()[COLUMNS[kind]])
        sections = [f"[{name}]" for name in _HOMES[kind] if f"[{name}]" in parts]
        section = next(
            name for name in sections if any(parts[name][i].split()[0] == str(used) for i in data(parts, name))
        )
        words = parts[section][find(parts, section, used)].split()
        words[0] = str(1 + max(int(parts[name][i].split()[0]) for name in sections for i in data(parts, name)))
        for column, value in changes.items():
            words[column] = f"{value(float(words[column])):g}" if callable(value) else str(value)
        parts[section].insert(data(parts, section)[-1] + 1, " ".join(words))
        block(number, COLUMNS[kind], words[0])(parts)

    return edit


def label(number: int, name: str, value: object, kind: str = "LABELSET") -> Edit:
    """Add a label to what a block does, after its other labels (the list is worked off from its end)."""

    def edit(parts: Parts) -> None:
        home = next((header for header in parts if header.startswith(f"extension {kind} ")), None)
        if home is None:
            home = f"extension {kind} {1 + sum(header.startswith('extension') for header in parts)}"
            kept = {header: parts.pop(header) for header in ("[SHAPES]", "[SIGNATURE]") if header in parts}
            parts[home] = [""]
            parts |= kept
        own = 1 + max([int(parts[home][i].split()[0]) for i in data(parts, home)], default=0)
        parts[home].insert(0, f"{own} {value} {name}")
        lists = data(parts, "[EXTENSIONS]")
        head = 1 + max(int(parts["[EXTENSIONS]"][i].split()[0]) for i in lists)
        before = parts["[BLOCKS]"][find(parts, "[BLOCKS]", number)].split()[COLUMNS["EXT"]]
        parts["[EXTENSIONS]"].insert(lists[-1] + 1, f"{head} {home.split()[2]} {own} {before}")
        block(number, COLUMNS["EXT"], head)(parts)

    return edit


def gradient(number: int, axis: str, times: Sequence[int], values: Sequence[float]) -> Edit:
    """Give a block a gradient through points: times in raster times of 10 us, values in Hz/m."""

    def edit(parts: Parts) -> None:
        peak = max(abs(value) for value in values)
        shapes = [add_shape(parts, [value / peak for value in values]), add_shape(parts, times)]
        sections = ("[GRADIENTS]", "[TRAP]")
        own = 1 + max(int(parts[name][i].split()[0]) for name in sections for i in data(parts, name))
        parts["[GRADIENTS]"].insert(data(parts, "[GRADIENTS]")[-1] + 1, f"{own} {peak:g} {shapes[0]} {shapes[1]} 0")
        block(number, COLUMNS[axis], own)(parts)

    return edit


def add_shape(parts: Parts, values: Sequence[float]) -> int:
    """Add a shape that is not compressed, and return its id."""
    rows = parts["[SHAPES]"]
    own = 1 + max(int(row.split()[1]) for row in rows if row.lower().startswith("shape_id"))
    rows[data(parts, "[SHAPES]")[0] : data(parts, "[SHAPES]")[0]] = [
        f"shape_id {own}", f"num_samples {len(values)}", *(f"{value:g}" for value in values), "",
    ]  # fmt: skip
    return own


def replace(section: str, old: str, new: str) -> Edit:
    """Replace a piece of a section's text, once."""

    def edit(parts: Parts) -> None:
        body = "\n".join(parts[section])
        assert old in body, f"{old!r} is not in {section}"
        parts[section] = body.replace(old, new, 1).split("\n")

    return edit


def renamed(old: str, new: str) -> Edit:
    """Replace a section's header."""

    def edit(parts: Parts) -> None:
        kept = dict(parts)
        parts.clear()
        parts.update({new if name == old else name: body for name, body in kept.items()})

    return edit


def without(header: str) -> Edit:
    """Leave out a section."""

    def edit(parts: Parts) -> None:
        del parts[header]

    return edit


def all_of(*edits: Edit) -> Edit:
    """Make several edits one after the other."""

    def edit(parts: Parts) -> None:
        for one in edits:
            one(parts)

    return edit
