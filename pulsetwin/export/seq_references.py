"""What the text of a `.seq` file names but does not define."""

from __future__ import annotations

from collections.abc import Iterator

from pulsetwin.sequences.seqtext import Section

_Dangling = Iterator[tuple[Section, int, str]]
_SHAPE_COLUMNS = {"RF": {2: (2, 3), 4: (2, 3, 4), 5: (2, 3, 4)}, "GRADIENTS": {2: (2,), 4: (2, 3), 5: (4, 5)}}


def dangling(named: dict[str, Section], layout: int) -> _Dangling:
    """Yield section, row of data and problem of the first reference of each table to something that is not defined.

    Parameters
    ----------
    named
        The sections of the file by name.
    layout
        Minor version whose columns hold: 2, 4 or 5.
    """
    known = {name: _ids(named.get(name)) for name in ("RF", "GRADIENTS", "TRAP", "ADC", "EXTENSIONS")}
    gradients = known["GRADIENTS"] | known["TRAP"]
    twice = known["GRADIENTS"] & known["TRAP"]
    if twice:
        yield named["TRAP"], 0, f"{min(twice)} is in [GRADIENTS] too"
    tables = (known["RF"], gradients, gradients, gradients, known["ADC"], known["EXTENSIONS"])
    yield from _undefined(named.get("BLOCKS"), range(2, 8), tables)
    shapes = named.get("SHAPES")
    words = (line.split() for line in (shapes.lines() if shapes else []) if line.lower().startswith("shape_id"))
    ids = {word[1] for word in words if len(word) > 1}
    for name, by_layout in _SHAPE_COLUMNS.items():
        used = by_layout[layout]
        yield from _undefined(named.get(name), used, (ids,) * len(used))
    yield from _undefined(named.get("EXTENSIONS"), (3,), (known["EXTENSIONS"],))


def _ids(section: Section | None) -> set[str]:
    columns = section.columns() if section else []
    return set(columns[0]) if columns else set()


def _undefined(section: Section | None, columns: range | tuple[int, ...], tables: tuple[set[str], ...]) -> _Dangling:
    words = section.columns() if section else []
    for column, known in zip(columns, tables, strict=True):
        missing = set(words[column]) - known - {"0", "-1"} if column < len(words) else set()
        if missing:
            assert section is not None
            row = next(row for row, word in enumerate(words[column]) if word in missing)
            yield section, row, f"column {column + 1} names {words[column][row][:20]}, which is not defined"
            return
