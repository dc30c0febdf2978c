"""Read Pulseq `.seq` files, versions 1.2 to 1.5, into tables of blocks and events.

pypulseq reads most of these too, but hangs on some truncated files, expands long pulses to every microsecond, does not
verify signatures and does not know rotations or oversampled gradients. Format: Pulseq specification 1.5.1,
https://pulseq.github.io/specification.pdf.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pulsetwin.errors import SeqError
from pulsetwin.sequences import gradients as waves
from pulsetwin.sequences import tables
from pulsetwin.sequences.events import NONE, AdcEvents, Array, Extensions, GradientEvents, RfEvents
from pulsetwin.sequences.extensions import read_extensions
from pulsetwin.sequences.seqtext import Section, definitions, load, signature
from pulsetwin.sequences.shapes import Shape

RF, GX, GY, GZ, ADC, EXT = range(6)
_RASTERS = {
    "GradientRasterTime": 10e-6,
    "RadiofrequencyRasterTime": 1e-6,
    "AdcRasterTime": 100e-9,
    "BlockDurationRaster": 10e-6,
}
_SECTIONS = ("VERSION", "DEFINITIONS", "BLOCKS", "RF", "GRADIENTS", "TRAP", "ADC", "DELAYS", "EXTENSIONS", "SHAPES")
_CUT = "the file is cut or edited: export it again"


@dataclass(frozen=True, slots=True)
class SeqFile:
    """A Pulseq sequence as stored: each block names its events by their rows in the event tables.

    Parameters
    ----------
    path
        Where it was read from.
    version
        Major, minor, revision.
    definitions
        `[DEFINITIONS]`: numbers, tuples of numbers, or texts.
    rasters
        Raster times [s] by the name of their definition; defaults where the file has none.
    signature, signature_valid
        The MD5 hash in the file, and whether it is that of the text; None without one.
    number
        Numbers of the blocks in the file, in order of play, int64 ``[block]``.
    events
        Rows of RF, GX, GY, GZ, ADC and the extension list of each block, int64 ``[block, 6]``, `NONE` where absent.
    block_start, block_duration
        [s], float64 ``[block]``.
    rf, gradients, adc, extensions, shapes
        The tables.
    warnings
        One sentence for each thing that was assumed or left out.
    """

    path: Path
    version: tuple[int, int, int]
    definitions: dict[str, Any]
    rasters: dict[str, float]
    signature: str | None
    signature_valid: bool | None
    number: Array
    events: Array
    block_start: Array
    block_duration: Array
    rf: RfEvents
    gradients: GradientEvents
    adc: AdcEvents
    extensions: Extensions
    shapes: tuple[Shape, ...]
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.number)

    @property
    def duration(self) -> float:
        """Duration of the whole sequence [s]."""
        return float(self.block_start[-1] + self.block_duration[-1]) if len(self) else 0.0

    @property
    def rotation(self) -> Array:
        """Row of the rotation of each block in `extensions.rotations`, `NONE` for none, int64 ``[block]``."""
        if not len(self.extensions):
            return np.full(len(self), NONE)
        return np.where(self.events[:, EXT] == NONE, NONE, self.extensions.rotation[self.events[:, EXT]])


def read_seq(path: str | Path) -> SeqFile:
    """Read a `.seq` file.

    Raises
    ------
    SeqError
        If the file is damaged or not supported; it names the line and the section.
    """
    path = Path(path)
    raw, found = load(path)
    sections, specs = _by_name(path, found)
    version = _version(path, sections.pop("VERSION", None))
    definition = definitions(sections["DEFINITIONS"]) if "DEFINITIONS" in sections else {}
    rasters, notes = _rasters(path, definition, version)
    shape_ids, shapes = tables.read_shapes(sections.get("SHAPES"), version)
    raster = rasters["RadiofrequencyRasterTime"]
    rf = tables.read_rf(sections.get("RF"), version, shape_ids, shapes, raster, _field(definition))
    rows = tables.read_gradients(sections.get("TRAP"), sections.get("GRADIENTS"), version, shape_ids, shapes)
    adc = tables.read_adc(sections.get("ADC"), version, shape_ids)
    if "BLOCKS" not in sections:
        raise SeqError(path, "has no [BLOCKS]", _CUT)
    ids = (rf.id, np.concatenate((rows.trap_id, rows.id)), adc.id)
    number, timing, events, heads = _blocks(sections["BLOCKS"], version, ids)
    table = sections.get("EXTENSIONS", Section(path, "EXTENSIONS", "", 0))
    if len(heads) and table.line == 0:
        sections["BLOCKS"].fail("blocks use extensions, but there is no [EXTENSIONS]", remedy=_CUT)
    extensions, more = read_extensions(table, specs, heads)
    end = waves.duration(rows, shapes, rasters["GradientRasterTime"])
    if version >= (1, 4, 0):
        ticks = np.concatenate(([0], np.cumsum(timing)))
        start, duration = ticks[:-1] * rasters["BlockDurationRaster"], timing * rasters["BlockDurationRaster"]
    else:
        duration = np.maximum(_delays(sections, timing), _event_end(events, rf, end, adc))
        start = np.concatenate(([0.0], np.cumsum(duration)))[:-1]
    last = waves.last_values(rows, shapes)
    first = waves.first_values(rows, events[:, GX : GZ + 1], duration, end, last)
    gradients = waves.build(rows, shapes, rasters["GradientRasterTime"], first, last)
    stated, valid = signature(raw, sections.get("SIGNATURE"))
    seq = SeqFile(
        path, version, definition, rasters, stated, valid, number, events, start, duration, rf, gradients, adc,
        extensions, shapes,
    )  # fmt: skip
    return _with_warnings(seq, notes + more)


def _with_warnings(seq: SeqFile, notes: list[str]) -> SeqFile:
    if seq.signature_valid is False:
        notes.append("the signature is not that of the text: the file was edited after it was written")
    if seq.version > (1, 5, 1):
        notes.append(f"version {'.'.join(map(str, seq.version))} is newer than 1.5.1 and was read as such")
    stated = seq.definitions.get("TotalDuration")
    if isinstance(stated, float) and abs(stated - seq.duration) > 1e-6 + 1e-8 * seq.duration:
        notes.append(f"TotalDuration says {stated:g} s but the blocks last {seq.duration:g} s")
    return replace(seq, warnings=tuple(notes))


def _by_name(path: Path, found: list[Section]) -> tuple[dict[str, Section], list[Section]]:
    specs = [section for section in found if section.name.startswith("extension")]
    named: dict[str, Section] = {}
    for section in found:
        if section.name.startswith("extension"):
            continue
        if section.name not in (*_SECTIONS, "SIGNATURE"):
            section.fail("is no section of a Pulseq file", remedy=_CUT)
        if section.name in named:
            section.fail("stands twice", remedy=_CUT)
        named[section.name] = section
    return named, specs


def _version(path: Path, section: Section | None) -> tuple[int, int, int]:
    if section is None:
        raise SeqError(path, "has no [VERSION]", "add the version that wrote it, or export it again")
    words = dict(line.partition(" ")[::2] for line in section.lines())
    try:
        digits = [words[key].strip() for key in ("major", "minor", "revision")]
        digits[2] = digits[2].split("post")[0]
        major, minor, revision = (int(word) for word in digits)
    except (KeyError, ValueError):
        section.fail("needs whole numbers major, minor and revision")
    if major != 1 or not 2 <= minor <= 5:
        section.fail(f"version {major}.{minor} is not supported", remedy="export it as 1.2 to 1.5")
    return major, minor, revision


def _rasters(
    path: Path, definition: dict[str, Any], version: tuple[int, int, int]
) -> tuple[dict[str, float], list[str]]:
    rasters, missing = {}, []
    for name, default in _RASTERS.items():
        value = definition.get(name, default)
        if not isinstance(value, float) or not 0 < value < 1:
            raise SeqError(path, f"{name} {value!r} is no time in s", _CUT, where="[DEFINITIONS]")
        rasters[name] = value
        if name not in definition:
            missing.append(name)
    if missing and version >= (1, 4, 0):
        return rasters, [f"{', '.join(missing)} not defined: usual value assumed"]
    return rasters, []


def _field(definition: dict[str, Any]) -> float | None:
    value = definition.get("B0")
    return value if isinstance(value, float) and value > 0 else None


def _blocks(
    section: Section, version: tuple[int, int, int], ids: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array, Array]:
    """Return block numbers, durations (or delay ids before 1.4), event rows and the distinct extension heads."""
    values = section.numbers((8,) if version >= (1, 4, 0) else (8, 7))
    if not len(values):
        section.fail("holds no block", remedy=_CUT)
    names = ("number", "duration", "RF", "GX", "GY", "GZ", "ADC", "extension")
    columns = [section.whole(values[:, i], name) for i, name in enumerate(names[: values.shape[1]])]
    section.unique(columns[0], "block")
    rf, gradient, adc = ids
    events = np.full((len(values), 6), NONE)
    for column, table in enumerate((rf, gradient, gradient, gradient, adc)):
        events[:, column], missing = tables.rows_of(columns[column + 2], table)
        if np.any(missing):
            bad = int(np.nonzero(missing)[0][0])
            what = f"block {columns[0][bad]} plays {names[column + 2]} event {columns[column + 2][bad]}"
            section.fail(f"{what}, which is not defined", bad, _CUT)
    heads = np.zeros(0, np.int64)
    if values.shape[1] == 8:
        heads = np.unique(columns[7])
        heads = heads[heads > 0]
        events[:, EXT] = tables.rows_of(columns[7], heads)[0]
    return columns[0], columns[1], events, heads


def _delays(sections: dict[str, Section], timing: Array) -> Array:
    """Return the delay of each block [s] in files before 1.4."""
    section = sections.get("DELAYS")
    table = np.zeros((0, 2)) if section is None else section.numbers((2,))
    row, missing = tables.rows_of(timing, table[:, 0].astype(np.int64))
    if np.any(missing):
        sections["BLOCKS"].fail("a delay is not defined in [DELAYS]", int(np.nonzero(missing)[0][0]), _CUT)
    delay = np.append(1e-6 * table[:, 1], 0.0)
    if section is not None and np.any(delay < 0):
        section.fail("a delay is negative", int(np.nonzero(delay < 0)[0][0]))
    return delay[row]


def _event_end(events: Array, rf: RfEvents, gradient_end: Array, adc: AdcEvents) -> Array:
    """Return the time from each block's start to the end of its last event [s]."""
    ends = (rf.delay + rf.duration, gradient_end, gradient_end, gradient_end, adc.end)
    return np.max([np.append(end, 0.0)[events[:, column]] for column, end in enumerate(ends)], axis=0)
