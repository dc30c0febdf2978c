"""The text of a `.seq` file: sections, number tables and the signature; every complaint names its line."""

from __future__ import annotations

import hashlib
import re
import warnings
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from pulsetwin.errors import SeqError

_HEADER = re.compile(r"^[ \t]*(\[[A-Za-z_]+\]|extension[ \t]+\S+[ \t]+\S+)[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_FRACTION = re.compile(r"[.eEnN]")
_RESTORE = "copy or export the sequence again"
LARGEST_ID = 2**31


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its name (`BLOCKS`, `extension LABELSET 2`), text and the line where the text starts."""

    path: Path
    name: str
    text: str
    line: int

    def fail(self, problem: str, row: int | None = None, remedy: str = _RESTORE) -> NoReturn:
        """Raise a `SeqError` about this section, at its `row`-th line of data where given."""
        line = self.line if row is None else self.data_line(row)
        title = self.name if self.name.startswith("extension") else f"[{self.name}]"
        raise SeqError(self.path, problem, remedy, where=f"line {line}, {title}")

    def lines(self) -> list[str]:
        """Return the lines of data: not blank, no comment."""
        return [line for line in map(str.strip, self.text.split("\n")) if line and line[0] != "#"]

    def columns(self) -> list[list[str]]:
        """Return the words of the lines of data, column by column; lines shorter than others end in 0."""
        lines = self.lines()
        words = " ".join(lines).split()
        width = len(lines[0].split()) if lines else 0
        if len(words) == width * len(lines):
            return [words[number::width] for number in range(width)]
        return [list(column) for column in zip_longest(*(line.split() for line in lines), fillvalue="0")]

    def data_line(self, row: int) -> int:
        """Return the number in the file of the `row`-th line of data."""
        found = -1
        for number, line in enumerate(self.text.split("\n")):
            found += bool(line.strip()) and not line.strip().startswith("#")
            if found == row:
                return self.line + number
        return self.line

    def numbers(self, columns: tuple[int, ...]) -> np.ndarray:
        """Return the table of numbers, float64 ``[line, column]``, whose width is one of `columns`."""
        text = _COMMENT.sub("", self.text) if "#" in self.text else self.text
        width = _tokens_per_line(text)
        if not len(width):
            return np.zeros((0, columns[0]))
        if width[0] not in columns or np.any(width != width[0]):
            bad = 0 if width[0] not in columns else int(np.nonzero(width != width[0])[0][0])
            expected = width[0] if width[0] in columns else " or ".join(map(str, columns))
            self.fail(f"{width[bad]} columns where {expected} belong", bad)
        try:
            values = to_numbers(text).reshape(-1, width[0])
        except ValueError:
            self._fail_at_word()
        if not np.all(np.isfinite(values)):
            self.fail("a number that is not finite", int(np.nonzero(~np.isfinite(values).all(1))[0][0]))
        return values

    def _fail_at_word(self) -> NoReturn:
        for row, line in enumerate(self.lines()):
            for word in line.split():
                if not _is_number(word):
                    self.fail(f"{word[:30]!r} is not a number", row)
        self.fail("something in it is not a number")

    def whole(self, values: np.ndarray, what: str, lowest: int = 0) -> np.ndarray:
        """Return `values` ``[line]`` as int64 after checking that they are whole numbers in range."""
        bad = (values != np.floor(values)) | (values < lowest) | (values >= LARGEST_ID)
        if np.any(bad):
            row = int(np.nonzero(bad)[0][0])
            self.fail(f"{what} {values[row]:g} is not a whole number from {lowest} on", row)
        return values.astype(np.int64)

    def unique(self, ids: np.ndarray, what: str) -> np.ndarray:
        """Return `ids` after checking that none occurs twice."""
        order = np.argsort(ids, kind="stable")
        twice = np.nonzero(np.diff(ids[order]) == 0)[0]
        if len(twice):
            row = int(order[twice[0] + 1])
            self.fail(f"{what} {ids[row]} is defined twice", row)
        return ids


def to_numbers(text: str) -> np.ndarray:
    """Return the numbers in `text`, float64 ``[number]``; raises ValueError at anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            kind = np.float64 if _FRACTION.search(text) else np.int64
            return np.fromstring(text, kind, sep=" ").astype(np.float64) if text.strip() else np.zeros(0)
        except DeprecationWarning as error:
            raise ValueError(str(error)) from None


def _is_number(word: str) -> bool:
    try:
        return "_" not in word and bool(float(word) or True)
    except ValueError:
        return False


def _tokens_per_line(text: str) -> np.ndarray:
    """Return the number of words on each line that has any, int64 ``[line]``."""
    data = np.frombuffer(text.encode("latin-1", "replace"), np.uint8)
    if not len(data):
        return np.zeros(0, np.int64)
    word = data > 32
    begins = word.copy()
    begins[1:] &= ~word[:-1]
    starts = np.concatenate(([0], np.nonzero(data == 10)[0]))
    count = np.add.reduceat(begins, starts, dtype=np.int64)
    return count[count > 0]


def load(path: Path) -> tuple[bytes, list[Section]]:
    """Return the bytes of a `.seq` file and its sections."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SeqError(path, f"cannot be read ({error.strerror})", "check the name and the permissions") from None
    if not raw.strip():
        raise SeqError(path, "the file is empty", _RESTORE)
    if b"\0" in raw:
        where = f"byte {raw.index(0)}"
        raise SeqError(path, "holds binary data", "a Pulseq text file is needed", where=where)
    text = raw.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    found = list(_HEADER.finditer(text))
    if not found:
        raise SeqError(path, "has no [SECTION]: not a Pulseq file", "give a .seq written by Pulseq 1.2 to 1.5")
    ends = [match.start() for match in found[1:]] + [len(text)]
    sections, line, before = [], 1, 0
    for match, end in zip(found, ends, strict=True):
        line, before = line + text.count("\n", before, match.end()), match.end()
        name = " ".join(match.group(1).strip("[]").split())
        sections.append(Section(path, name, text[match.end() : end], line))
    return raw, sections


def definitions(section: Section) -> dict[str, Any]:
    """Return the `[DEFINITIONS]`: a number, a tuple of numbers or a text for each key."""
    parsed: dict[str, Any] = {}
    for line in section.lines():
        key, _, rest = line.encode("latin-1").decode("utf-8", "replace").replace("\t", " ").partition(" ")
        words = rest.split()
        if words and all(_is_number(word) for word in words):
            values = tuple(float(word) for word in words)
            parsed[key] = values[0] if len(values) == 1 else values
        else:
            parsed[key] = rest.strip()
    return parsed


def signature(raw: bytes, section: Section | None) -> tuple[str | None, bool | None]:
    """Return the hash in `[SIGNATURE]` and whether it is that of the file.

    The signed text ends before the line break that precedes `[SIGNATURE]`. Files with CRLF line ends may be signed as
    they are or as the LF text (pypulseq on Windows).
    """
    if section is None:
        return None, None
    words = {key.lower(): rest for key, _, rest in (line.partition(" ") for line in section.lines())}
    stated = words.get("hash", "").strip().lower()
    if not stated:
        return None, None
    if words.get("type", "md5").strip().lower() != "md5":
        return stated, None
    variants = {signed_part(raw), signed_part(raw.replace(b"\r\n", b"\n"))}
    return stated, any(hashlib.md5(text, usedforsecurity=False).hexdigest() == stated for text in variants)


def signed_part(raw: bytes) -> bytes:
    """Return what the signature of a file is the hash of: all before the line break that precedes `[SIGNATURE]`."""
    body = raw[: raw.rfind(b"\n[SIGNATURE]") + 1]
    for end in (b"\r\n", b"\n"):
        if body.endswith(end):
            return body[: -len(end)]
    return body
