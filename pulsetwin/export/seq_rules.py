"""Types and widths of the text of a `.seq` file, as the official reader parses it.

The reader of the Siemens interpreters scans each line with fixed formats: a whole number written ``1.5e+06`` is read as
1 and shifts the columns behind it, without an error. These rules look at the text alone, column by column, in any file
of 1.2 to 1.5 (Pulseq specification 1.5.1, https://pulseq.github.io/specification.pdf).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulsetwin.export.seq_references import dangling
from pulsetwin.sequences.seqtext import Section, load, signature

ERROR, WARNING = "error", "warning"
LARGEST_COUNTER = 65535
LONGEST_HINT = 32
ONCE_VALUES = 3
COUNTERS = ("SLC", "SEG", "REP", "AVG", "SET", "ECO", "PHS", "LIN", "PAR", "ACQ", "TRID")
FLAGS = ("NAV", "REV", "SMS", "REF", "IMA", "NOISE", "OFF", "PMC", "NOROT", "NOPOS", "NOSCL")
_LONGEST_LINE = 255
_KINDS = {
    "i": (r"\+?\d{1,10}", "a whole number from 0, in digits only,"),
    "s": (r"[+-]?\d{1,10}", "a whole number, in digits only,"),
    "f": (r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", "a number"),
    "u": (r"[erispou]", "one of e r i s p o u"),
    "w": (r"\S+", "a word"),
}
_NUMBER = _KINDS["f"][0]
_COLUMNS = {
    "BLOCKS": {2: "iiiiiiii", 4: "iiiiiiii", 5: "iiiiiiii"},
    "RF": {2: "ifiiiff", 4: "ifiiiiff", 5: "ifiiififfffu"},
    "GRADIENTS": {2: "ifii", 4: "ifiii", 5: "ifffisi"},
    "TRAP": {2: "ifiiii", 4: "ifiiii", 5: "ifiiii"},
    "ADC": {2: "iiiiff", 4: "iiiiff", 5: "iiiiffffi"},
    "DELAYS": {2: "ii", 4: "ii", 5: "ii"},
    "EXTENSIONS": {2: "iiii", 4: "iiii", 5: "iiii"},
}
_EXTENSIONS = {"TRIGGERS": "iiiii", "LABELSET": "isw", "LABELINC": "isw", "DELAYS": "iisfw", "ROTATIONS": "iffff"}
_SINCE = {"DELAYS": (1, 5, 0), "ROTATIONS": (1, 5, 1), "RF_SHIMS": (1, 5, 1)}
_LABELS_SINCE = {"OFF": (1, 5, 1), **dict.fromkeys(("PMC", "NOROT", "NOPOS", "NOSCL", "ONCE", "TRID"), (1, 4, 1))}
_RASTERS = {
    "AdcRasterTime": 1e-7,
    "BlockDurationRaster": 1e-5,
    "GradientRasterTime": 1e-5,
    "RadiofrequencyRasterTime": 1e-6,
}
_PHASES = {"RF": {2: (6,), 4: (7,), 5: (10,)}, "ADC": {2: (5,), 4: (5,), 5: (7,)}}
_Found = Iterator["TextFault"]
_Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class TextFault:
    """A place where the text breaks a rule.

    Parameters
    ----------
    severity
        ``error``: the official reader refuses it or reads something else; ``warning``: it reads it, but look at it.
    line
        Number of the line, from 1.
    section
        Section, such as ``[RF]``.
    problem
        One sentence.
    """

    severity: str
    line: int
    section: str
    problem: str

    def __str__(self) -> str:
        return f"{self.severity:<8}line {self.line}, {self.section}: {self.problem}"


def text_faults(path: str | Path) -> tuple[TextFault, ...]:
    """Return where the text of a `.seq` file breaks the rules of the format, the first place of each kind.

    Parameters
    ----------
    path
        Any `.seq` file.

    Raises
    ------
    SeqError
        If it is no Pulseq text file at all.
    """
    raw, sections = load(Path(path))
    named = {section.name: section for section in sections}
    version = _version(named.get("VERSION"))
    faults = [*_lines(raw)]
    if version is None:
        return (*faults, TextFault(ERROR, 1, "[VERSION]", "needs major 1, minor 2 to 5 and revision in digits"))
    for section in sections:
        faults += _section(section, named, version)
    faults += _required(named, version)
    for section, row, problem in dangling(named, _layout(version)):
        faults.append(TextFault(ERROR, section.data_line(row), f"[{section.name}]", problem))
    stated, valid = signature(raw, named.get("SIGNATURE"))
    if valid is False:
        faults.append(TextFault(WARNING, named["SIGNATURE"].line, "[SIGNATURE]", f"{stated} is not that of the text"))
    return tuple(faults)


def _version(section: Section | None) -> _Version | None:
    words = dict(line.split()[:2] for line in section.lines() if len(line.split()) > 1) if section else {}
    found = [re.match(r"\d+", words.get(key, "")) for key in ("major", "minor", "revision")]
    if not all(found):
        return None
    major, minor, revision = (int(match.group()) for match in found if match)
    return (major, minor, revision) if major == 1 and 2 <= minor <= 5 else None


def _layout(version: _Version) -> int:
    """Return the minor version whose columns hold: 1.3 has those of 1.2."""
    return version[1] if version[1] > 3 else 2


def _lines(raw: bytes) -> _Found:
    for pattern, problem in ((rb"\r", "line ends with CR: write LF alone"), (rb"[^\0-\x7f]", "a letter beyond ASCII")):
        if place := re.search(pattern, raw):
            yield TextFault(WARNING, raw.count(b"\n", 0, place.start()) + 1, "file", problem)
    if not raw.endswith(b"\n"):
        yield TextFault(ERROR, raw.count(b"\n") + 1, "file", "the last line has no end: the file is cut")
    if b"[SHAPES]" in raw and b"[SIGNATURE]" not in raw and not raw.replace(b"\r", b"").endswith(b"\n\n"):
        yield TextFault(WARNING, raw.count(b"\n"), "[SHAPES]", "no blank line after the last shape: pypulseq hangs")


def _section(section: Section, named: dict[str, Section], version: _Version) -> _Found:
    title = section.name if section.name.startswith("extension") else f"[{section.name}]"
    if section.name not in ("DEFINITIONS", "SIGNATURE"):
        for number, line in enumerate(section.text.split("\n"), section.line):
            if len(line) > _LONGEST_LINE:
                yield TextFault(ERROR, number, title, f"{len(line)} characters where a line has at most 255")
                break
    if named[section.name] is not section:
        yield TextFault(ERROR, section.line, title, "stands twice")
    elif section.name in _COLUMNS:
        kinds = _COLUMNS[section.name][_layout(version)]
        yield from _rows(section, title, kinds, version)
    elif section.name.startswith("extension"):
        yield from _extension(section, title, version)
    elif section.name == "SHAPES":
        yield from _shapes(section, version)
    elif section.name not in ("VERSION", "DEFINITIONS", "SIGNATURE"):
        yield TextFault(ERROR, section.line, title, "is no section of a Pulseq file")


def _pattern(kinds: str) -> str:
    return r"[ \t]+".join(_KINDS[kind][0] for kind in kinds)


def _rows(section: Section, title: str, kinds: str, version: _Version) -> _Found:
    """Check each row against the kinds of its columns, then ids, whole numbers and phases."""
    lines = section.lines()
    options = [kinds, kinds[:-1]] if section.name == "BLOCKS" and version < (1, 4, 0) else [kinds]
    pattern = re.compile("|".join(_pattern(option) for option in options))
    for row, line in enumerate(lines):
        if not pattern.fullmatch(line):
            yield TextFault(ERROR, section.data_line(row), title, _reason(line, kinds))
            return
    columns = section.columns()
    whole = [columns[number] for number, kind in enumerate(kinds) if kind in "is" and number < len(columns)]
    wide = [row for words in whole for row in _wide(words)]
    if wide:
        yield TextFault(ERROR, section.data_line(min(wide)), title, "a whole number of 2^31 or more")
    ids = np.array(columns[0] if columns else [], dtype=np.int64)
    _, first = np.unique(ids, return_index=True)
    if len(first) < len(ids):
        row = int(np.setdiff1d(np.arange(len(ids)), first)[0])
        yield TextFault(ERROR, section.data_line(row), title, f"{ids[row]} is defined twice")
    yield from _values(section, title, columns, version)


def _values(section: Section, title: str, columns: list[list[str]], version: _Version) -> _Found:
    """Check phases and numbers of samples."""
    if not columns:
        return
    for column in _PHASES.get(section.name, {}).get(_layout(version), ()):
        phases = np.array(columns[column], dtype=float)
        if np.any(np.abs(phases) >= 2 * np.pi):
            row = int(np.argmax(np.abs(phases)))
            problem = f"phase {phases[row]:g} rad is more than a turn, which loses digits: wrap it"
            yield TextFault(WARNING, section.data_line(row), title, problem)
    samples = np.array(columns[1] if section.name == "ADC" else [], dtype=np.int64)
    if np.any(samples > LARGEST_COUNTER):
        row = int(np.argmax(samples))
        yield TextFault(ERROR, section.data_line(row), title, f"{samples[row]} samples: raw data count to 65535")


def _wide(words: list[str]) -> list[int]:
    """Return the rows whose whole number needs more than 32 bits; most columns have no word that long."""
    if max(map(len, words)) < len(str(2**31)):
        return []
    return [row for row, word in enumerate(words) if abs(int(word)) >= 2**31]


def _reason(line: str, kinds: str) -> str:
    words = line.split()
    if len(words) != len(kinds):
        return f"{len(words)} columns where {len(kinds)} belong"
    for column, (word, kind) in enumerate(zip(words, kinds, strict=True), 1):
        pattern, meaning = _KINDS[kind]
        if not re.fullmatch(pattern, word):
            return f"column {column} is {word[:20]!r} where {meaning} belongs"
    return f"{line[:40]!r} cannot be read"


def _extension(section: Section, title: str, version: _Version) -> _Found:
    name, place = section.name.split()[1:]
    if not place.isdigit():
        yield TextFault(ERROR, section.line, title, f"type {place!r} is not a number")
    if version < _SINCE.get(name, (1, 2, 0)):
        since = ".".join(map(str, _SINCE[name]))
        yield TextFault(ERROR, section.line, title, f"belongs to {since} and later")
    if name in _EXTENSIONS:
        faults = list(_rows(section, title, _EXTENSIONS[name], version))
        yield from faults
        if not faults:
            yield from _entries(section, title, name, version)


def _entries(section: Section, title: str, name: str, version: _Version) -> _Found:
    for row, line in enumerate(section.lines()):
        words = line.split()
        problem = ""
        if name in ("LABELSET", "LABELINC"):
            problem = _label(int(words[1]), words[2], name == "LABELSET", version)
        elif name == "DELAYS" and len(words[4]) > LONGEST_HINT:
            problem = f"the hint {words[4][:40]!r} is longer than {LONGEST_HINT} letters"
        if problem:
            yield TextFault(ERROR, section.data_line(row), title, problem)
            return


def _label(value: int, name: str, is_set: bool, version: _Version) -> str:
    """Return what is wrong with a label, or nothing."""
    if name not in (*COUNTERS, *FLAGS, "ONCE") or version < _LABELS_SINCE.get(name, (1, 2, 0)):
        return f"label {name} is unknown to {'.'.join(map(str, version))}"
    if name not in COUNTERS and not is_set:
        return f"flag {name} is incremented: it can only be set"
    largest = 1 if name in FLAGS else ONCE_VALUES - 1 if name == "ONCE" else LARGEST_COUNTER
    lowest = 0 if is_set else -largest
    return "" if lowest <= value <= largest else f"label {name} {value} is not in {lowest}..{largest}"


def _shapes(section: Section, version: _Version) -> _Found:
    """Check that shapes are heads and columns of single numbers; their decoding is the reader's business."""
    pattern = re.compile(rf"(?:shape_id|num_samples)[ \t]+\d+|{_NUMBER}", re.IGNORECASE)
    for row, line in enumerate(section.lines()):
        if not pattern.fullmatch(line):
            yield TextFault(ERROR, section.data_line(row), "[SHAPES]", f"{line[:40]!r} is no number, or more than one")
            return


def _required(named: dict[str, Section], version: _Version) -> _Found:
    for name in ("DEFINITIONS", "BLOCKS"):
        if name not in named and (name == "BLOCKS" or version >= (1, 4, 0)):
            yield TextFault(ERROR, 1, f"[{name}]", "is missing")
    if "BLOCKS" in named and not named["BLOCKS"].lines():
        yield TextFault(ERROR, named["BLOCKS"].line, "[BLOCKS]", "holds no block")
    if version < (1, 4, 0) or "DEFINITIONS" not in named:
        return
    section = named["DEFINITIONS"]
    values = {line.split()[0]: line.split()[1:] for line in section.lines()}
    for name, needed in _RASTERS.items():
        if len(values.get(name, [])) != 1 or not re.fullmatch(_NUMBER, values[name][0]):
            yield TextFault(ERROR, section.line, "[DEFINITIONS]", f"{name} is missing or no number")
        elif abs(float(values[name][0]) - needed) > 1e-12:
            problem = f"{name} is {values[name][0]} s where Siemens interpreters play {needed:g} s"
            shaped = name == "GradientRasterTime" and "GRADIENTS" in named
            yield TextFault(ERROR if shaped else WARNING, section.line, "[DEFINITIONS]", problem)
