"""The lines of a `.seq` file, to change words in some, add others, and leave every other byte as it is."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from pulsetwin.sequences.seqtext import Section, signed_part


@dataclass(slots=True)
class SeqLines:
    """Lines of a file, to be edited.

    Parameters
    ----------
    lines
        With their ends.
    data
        Numbers, from 0, of the lines of data of each section: not blank, no comment.
    behind
        Lines to be added behind a line.
    """

    lines: list[bytes]
    data: dict[str, list[int]]
    behind: dict[int, list[bytes]] = field(default_factory=dict)

    def words(self, section: str, row: int) -> list[str]:
        """Return the words of a line of data."""
        return self.lines[self.data[section][row]].decode("latin-1").split()

    def change(self, section: str, row: int, words: dict[int, str]) -> None:
        """Put other words into some columns of a line of data, and leave all else as it is."""
        place = self.data[section][row]
        self.lines[place] = _with_words(self.lines[place], words)

    def append(self, section: str, row: int, words: dict[int, str]) -> None:
        """Add a copy of a line of data with other words behind all lines of data of its section."""
        places = self.data[section]
        line = _with_words(self.lines[places[row]].rstrip(b"\r\n"), words)
        end = b"\r\n" if self.lines[places[-1]].endswith(b"\r\n") else b"\n"
        self.behind.setdefault(places[-1], []).append(line + end)

    def signed(self, old: str | None) -> bytes:
        """Return the whole text, with its own hash in place of the `old` one; None leaves it unsigned."""
        rows = ((line, *self.behind.get(number, [])) for number, line in enumerate(self.lines))
        raw = b"".join(part for row in rows for part in row)
        if old is None:
            return raw
        body = signed_part(raw)
        hashed = hashlib.md5(body, usedforsecurity=False).hexdigest().encode()
        return body + re.sub(re.escape(old.encode()), hashed, raw[len(body) :], flags=re.IGNORECASE)


def seq_lines(raw: bytes, sections: list[Section]) -> SeqLines:
    """Return the lines of a file from its bytes and sections, see `seqtext.load`."""
    return SeqLines(raw.splitlines(keepends=True), {section.name: _data_lines(section) for section in sections})


def _data_lines(section: Section) -> list[int]:
    rows = enumerate(section.text.split("\n"), section.line - 1)
    return [place for place, line in rows if line.strip() and not line.strip().startswith("#")]


def _with_words(line: bytes, words: dict[int, str]) -> bytes:
    parts = re.split(rb"(\S+)", line)
    for column, word in words.items():
        parts[2 * column + 1] = word.encode("ascii")
    return b"".join(parts)
