"""The check on sequences that are spoilt on purpose, each in one place: all are caught, and the place is named."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pulsetwin.errors import SeqError
from pulsetwin.export.findings import ERROR, WARNING
from pulsetwin.export.playable import check
from pulsetwin.scanner import SafeAxis, Scanner
from tests.export import mutations as spoil
from tests.export.mutations import LINES, PREPHASER, PULSE, READ, REWINDER, SPOILER, Edit, block_of
from tests.sequences import made

PRISMA = Scanner.preset("siemens-prisma")
AXIS = SafeAxis((0.2e-3, 12e-3, 0.55e-3), (0.3, 0.2, 0.5), 30.0, 0.35)
SENSITIVE = dataclasses.replace(PRISMA, pns=(AXIS, AXIS, AXIS))
RINGING = dataclasses.replace(PRISMA, forbidden_bands=((540.0, 640.0),))
AT = 4
PULSE_AT, PRE_AT, READ_AT, REWIND_AT, SPOIL_AT = (
    block_of(AT, part) for part in (PULSE, PREPHASER, READ, REWINDER, SPOILER)
)
LAST = block_of(LINES - 1, SPOILER)
SINUS = np.sin(2 * np.pi * 600 * 30e-6 * np.arange(1001))


class Spoilt(NamedTuple):
    """What is spoilt, how, which rule finds it in which block, how severely and on which scanner."""

    reason: str
    edit: Edit
    rule: str
    block: int | None
    severity: str = ERROR
    scanner: Scanner = PRISMA


def trapezoid(amplitude: float, rise: int, flat: int, delay: int = 0) -> dict[int, object]:
    """Return the columns of a trapezoid: Hz/m and us."""
    return dict(enumerate((amplitude, rise, flat, rise, delay), 1))


def strong(number: int, axes: str, amplitude: float, rise: int, flat: int) -> Edit:
    """Replace gradients of a block by strong ones."""
    return spoil.all_of(*(spoil.event(number, f"G{axis.upper()}", trapezoid(amplitude, rise, flat)) for axis in axes))


def scaled(factor: float):
    """Return what multiplies a column by `factor`."""
    return lambda value: factor * value


def odd_duration(parts: spoil.Parts) -> None:
    """Count durations in 5 us, and make that of one block odd."""
    spoil.replace("[DEFINITIONS]", "BlockDurationRaster 1e-05", "BlockDurationRaster 5e-06")(parts)
    for row in spoil.data(parts, "[BLOCKS]"):
        words = parts["[BLOCKS]"][row].split()
        odd = int(words[0]) == SPOIL_AT
        parts["[BLOCKS]"][row] = " ".join([words[0], str(2 * int(words[1]) + odd), *words[2:]])


def copied_cell(parts: spoil.Parts) -> None:
    """Measure line 2 a second time instead of line 4."""
    rows = parts["[BLOCKS]"]
    for part, column in ((PREPHASER, "GY"), (REWINDER, "GY"), (READ, "EXT")):
        words = rows[spoil.find(parts, "[BLOCKS]", block_of(2, part))].split()
        spoil.block(block_of(AT, part), spoil.COLUMNS[column], words[spoil.COLUMNS[column]])(parts)


def taller_pulse(parts: spoil.Parts) -> None:
    """Give a pulse a shape that rises to 2, at half the amplitude."""
    shape = spoil.add_shape(parts, [0, 2, 2, 2, 0])
    spoil.event(PULSE_AT, "RF", {1: 47.1, 2: shape, 3: 0})(parts)


def turned_pulse(parts: spoil.Parts) -> None:
    """Give a pulse a phase shape beyond a whole turn."""
    shapes = [spoil.add_shape(parts, values) for values in ([0, 1, 1, 1, 0], [0, 0.5, 1.5, 0.5, 0])]
    spoil.event(PULSE_AT, "RF", {1: 94.3, 2: shapes[0], 3: shapes[1]})(parts)


def two_samples(parts: spoil.Parts) -> None:
    """Make a pulse one of two samples at the beginning and the end."""
    shapes = [spoil.add_shape(parts, values) for values in ([1, 1], [0, 2000])]
    spoil.event(PULSE_AT, "RF", {1: 94.3, 2: shapes[0], 3: 0, 4: shapes[1]})(parts)


def never_set(parts: spoil.Parts) -> None:
    """Count a label that is set to 0 nowhere."""
    spoil.label(block_of(AT, REWINDER), "REP", 1, "LABELINC")(parts)


PLAYED = [
    Spoilt("Gx changes too fast", strong(PRE_AT, "x", -88205.6, 10, 1980), "slew-x", PRE_AT),
    Spoilt("Gy changes too fast", strong(PRE_AT, "y", 2e5, 10, 1980), "slew-y", PRE_AT),
    Spoilt("Gz changes too fast", strong(PRE_AT, "z", 4e5, 10, 1980), "slew-z", PRE_AT),
    Spoilt("a step is infinitely fast", strong(PRE_AT, "y", 1e5, 0, 2000), "slew-y", PRE_AT),
    Spoilt("three axes together change too fast", strong(PRE_AT, "xyz", 1e6, 130, 1740), "slew-vector", PRE_AT,
           WARNING),
    Spoilt("Gx is too strong", strong(PRE_AT, "x", 3.6e6, 500, 1000), "gradient-x", PRE_AT),
    Spoilt("Gy is too strong", strong(PRE_AT, "y", 3.6e6, 500, 1000), "gradient-y", PRE_AT),
    Spoilt("Gz is too strong", strong(PRE_AT, "z", -3.6e6, 500, 1000), "gradient-z", PRE_AT),
    Spoilt("three axes together are too strong", strong(PRE_AT, "xyz", 3e6, 500, 1000), "gradient-vector", PRE_AT,
           WARNING),
    Spoilt("B1 exceeds the transmitter", spoil.event(PULSE_AT, "RF", {1: 1100}), "b1", PULSE_AT),
    Spoilt("nerves are stimulated", strong(PRE_AT, "xyz", 3e6, 400, 1200), "pns", PRE_AT, ERROR, SENSITIVE),
    Spoilt("a gradient swings in a forbidden band", spoil.all_of(
        spoil.gradient(SPOIL_AT, "GX", [3 * n for n in range(1001)], list(1e6 * SINUS)),
        spoil.block(SPOIL_AT, 1, 3000)), "acoustic-x", SPOIL_AT, ERROR, RINGING),
    Spoilt("a label exceeds 16 bits", spoil.label(READ_AT, "SLC", 70000), "label-range", READ_AT),
    Spoilt("a label is negative", spoil.label(READ_AT, "SLC", -5, "LABELINC"), "label-range", READ_AT),
    Spoilt("a flag is 5", spoil.label(READ_AT, "NAV", 5), "label-range", READ_AT),
    Spoilt("a flag is counted", spoil.label(READ_AT, "NAV", 1, "LABELINC"), "label-flag", READ_AT),
    Spoilt("a label is set to 0 nowhere", never_set, "label-start", block_of(0, READ), WARNING),
    Spoilt("LIN is that of another line", spoil.label(READ_AT, "LIN", 6), "label-LIN", READ_AT),
    Spoilt("Gy is that of another line", spoil.event(PRE_AT, "GY", {1: 10256.4}), "label-LIN", READ_AT),
    Spoilt("Gy lies between two lines", spoil.event(PRE_AT, "GY", {1: 800.0}), "label-LIN", READ_AT, WARNING),
    Spoilt("a line is measured twice", copied_cell, "label-cell", READ_AT),
    Spoilt("a line is left out", spoil.block(READ_AT, 6, 0), "label-missing", block_of(AT + 1, READ), WARNING),
    Spoilt("REV is set on a line that runs forward", spoil.label(READ_AT, "REV", 1), "label-REV", READ_AT),
    Spoilt("a line runs backwards without REV", spoil.all_of(
        spoil.event(PRE_AT, "GX", {1: scaled(-1)}), spoil.event(READ_AT, "GX", {1: scaled(-1)})),
        "label-REV", READ_AT),
    Spoilt("all lines count as noise", spoil.label(1, "NOISE", 1), "label-image", block_of(0, READ), WARNING),
    Spoilt("a gradient is on at the end", spoil.gradient(LAST, "GZ", [0, 100, 300], [0, 4e5, 4e5]), "jump-z", LAST),
    Spoilt("a gradient ends high, and the next block has none",
           spoil.gradient(SPOIL_AT, "GX", [0, 100, 300], [0, 4e5, 4e5]), "jump-x", SPOIL_AT + 1),
    Spoilt("a gradient begins high after nothing", spoil.gradient(SPOIL_AT, "GY", [0, 100, 300], [4e5, 4e5, 0]),
           "jump-y", SPOIL_AT),
    Spoilt("a gradient ends high within its block", spoil.gradient(SPOIL_AT, "GY", [0, 100, 200], [0, 4e5, 4e5]),
           "jump-y", SPOIL_AT),
    Spoilt("a gradient outlasts its block", strong(PRE_AT, "y", 1000, 50, 2400), "gradient-end-y", PRE_AT),
    Spoilt("a block is shorter than its acquisition", spoil.block(READ_AT, 1, 200), "adc-end", READ_AT),
    Spoilt("a block's duration is off the raster", odd_duration, "block-raster", SPOIL_AT),
    Spoilt("a corner is off the raster", strong(PRE_AT, "y", 1000, 55, 1890), "gradient-raster-y", PRE_AT),
    Spoilt("a gradient's delay is off the raster", spoil.event(PRE_AT, "GY", trapezoid(1000, 50, 1800, 25)),
           "gradient-raster-y", PRE_AT),
    Spoilt("a pulse's delay is off the raster", spoil.event(PULSE_AT, "RF", {5: 100.5}), "rf-raster", PULSE_AT),
    Spoilt("a pulse begins in the dead time", spoil.event(PULSE_AT, "RF", {5: 90}), "rf-dead-time", PULSE_AT),
    Spoilt("a pulse rings past its block", spoil.event(PULSE_AT, "RF", {5: 140}), "rf-ringdown", PULSE_AT),
    Spoilt("a pulse's shape exceeds 1", taller_pulse, "rf-shape", PULSE_AT),
    Spoilt("a pulse's phase shape exceeds a turn", turned_pulse, "rf-shape", PULSE_AT),
    Spoilt("a pulse has two samples", two_samples, "rf-samples", PULSE_AT, WARNING),
    Spoilt("a pulse waits for 1.5 s", spoil.all_of(
        spoil.event(PULSE_AT, "RF", {5: 1500000}), spoil.block(PULSE_AT, 1, 150215)), "rf-delay", PULSE_AT, WARNING),
    Spoilt("an acquisition begins in the dead time", spoil.event(READ_AT, "ADC", {3: 5}), "adc-dead-time", READ_AT),
    Spoilt("an acquisition outlasts its block", spoil.event(READ_AT, "ADC", {1: 68}), "adc-end", READ_AT),
    Spoilt("an acquisition begins off the RF raster", spoil.event(READ_AT, "ADC", {3: 20.5}), "adc-start", READ_AT),
    Spoilt("a dwell time is off the raster", spoil.event(READ_AT, "ADC", {2: 31950}), "adc-raster", READ_AT),
    Spoilt("a dwell time is 0", spoil.event(READ_AT, "ADC", {2: 0}), "adc-raster", READ_AT),
    Spoilt("an acquisition has too many samples", spoil.event(READ_AT, "ADC", {1: 8196, 2: 200}), "adc-samples",
           READ_AT),
    Spoilt("samples are no multiple of 4", spoil.event(READ_AT, "ADC", {1: 62}), "adc-divisor", READ_AT),
    Spoilt("an acquisition overlaps a pulse", spoil.block(PULSE_AT, 6, 1), "rf-adc-overlap", PULSE_AT),
    Spoilt("the gradient raster is 20 us",
           spoil.replace("[DEFINITIONS]", "GradientRasterTime 1e-05", "GradientRasterTime 2e-05"), "raster", None),
    Spoilt("the RF raster is 2.5 us",
           spoil.replace("[DEFINITIONS]", "RasterTime 1e-06", "RasterTime 2.5e-06"), "raster", None),
    Spoilt("the block raster is 20 us",
           spoil.replace("[DEFINITIONS]", "BlockDurationRaster 1e-05", "BlockDurationRaster 2e-05"), "raster", None),
    Spoilt("the stated duration is another",
           spoil.replace("[DEFINITIONS]", "TotalDuration 0.09916", "TotalDuration 0.19916"), "file", None, WARNING),
    Spoilt("the stated central line is another",
           spoil.replace("[DEFINITIONS]", "Name good", "Name good\nkSpaceCenterLine 1"), "label-centre", None, WARNING),
]  # fmt: skip


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> dict[str, str]:
    """The good sequence as text, by version."""
    folder, seq = tmp_path_factory.mktemp("good"), spoil.good(PRISMA)
    return {version: made.write(seq, folder / f"{version}.seq", version).read_text() for version in ("1.4.1", "1.5.0")}


def spoilt(text: str, edit: Edit, path: Path) -> Path:
    """Write the text with an edit."""
    parts = spoil.taken_apart(text)
    edit(parts)
    path.write_text(spoil.put_together(parts), newline="\n")
    return path


@pytest.mark.parametrize("scanner", [PRISMA, SENSITIVE, RINGING])
def test_the_good_one_is_good(texts, tmp_path, scanner):
    found = check(spoilt(texts["1.4.1"], lambda parts: None, tmp_path / "a.seq"), scanner)
    assert found.findings == ()


@pytest.mark.parametrize("case", PLAYED, ids=lambda case: case.reason)
def test_each_spoilt_place_is_found(texts, tmp_path, case):
    found = check(spoilt(texts["1.4.1"], case.edit, tmp_path / "a.seq"), case.scanner)
    mine = [(one.severity, one.block) for one in found.findings if one.rule == case.rule]
    assert (case.severity, case.block) in mine, found.text()
    assert found.playable == (case.severity == WARNING), found.text()


def test_there_are_enough():
    assert sum(case.severity == ERROR for case in PLAYED) + len(WRITTEN) + len(UNREADABLE) >= 60
    assert len({case.reason for case in (*PLAYED, *WRITTEN, *UNREADABLE)}) == len(PLAYED) + len(WRITTEN) + len(
        UNREADABLE
    )


class Written(NamedTuple):
    """What is wrong in the text, how it comes about, and what is told; `row` begins the line that is named."""

    reason: str
    edit: Edit
    told: str
    row: str | None = None
    version: str = "1.4.1"


def hint(parts: spoil.Parts) -> None:
    """Add a soft delay whose hint is too long."""
    kept = {name: parts.pop(name) for name in ("[SHAPES]", "[SIGNATURE]")}
    parts["extension DELAYS 9"] = [f"1 0 0 1 {'echo' * 10}", ""]
    parts |= kept
    last = spoil.data(parts, "[EXTENSIONS]")[-1]
    parts["[EXTENSIONS]"].insert(last + 1, "99 9 1 0")
    spoil.block(SPOIL_AT, 7, 99)(parts)


def unwrapped(parts: spoil.Parts) -> None:
    """Write a pulse's delay as Python writes a large number."""
    spoil.event(PULSE_AT, "RF", {5: "1.5e+06"})(parts)
    spoil.block(PULSE_AT, 1, 150215)(parts)


WRITTEN = [
    Written("a delay of 1.5 s in exponent notation", unwrapped, "'1.5e+06'", "4 94.2949 1 2 0 1.5e+06"),
    Written("a flag beyond 1 in the text", spoil.label(READ_AT, "NAV", 5), "label NAV 5", "13 5 NAV"),
    Written("a row of 300 characters", spoil.replace("[BLOCKS]", " 3 200", " " * 300 + "3 200"), "255", " " * 200),
    Written("a comment of 300 characters", spoil.replace("[RF]", "\n", "\n#" + 300 * "x" + "\n"), "255", "#xxxxxx"),
    Written("no raster of blocks", spoil.replace("[DEFINITIONS]", "BlockDurationRaster 1e-05", ""),
            "BlockDurationRaster is missing"),
    Written("a dwell time that is no whole number", spoil.event(READ_AT, "ADC", {2: "31999.5"}), "'31999.5'",
            "4 64 31999.5"),
    Written("a soft delay in 1.4", hint, "belongs to 1.5.0", None),
    Written("a hint too long", hint, "longer than 32", "1 0 0 1 echo", "1.5.0"),
    Written("a label of 1.5.1 in 1.4", spoil.label(READ_AT, "OFF", 0), "unknown to 1.4.1", "13 0 OFF"),
    Written("an unknown label", spoil.label(READ_AT, "NOSLC", 1), "label NOSLC is unknown", "13 1 NOSLC"),
]  # fmt: skip


@pytest.mark.parametrize("case", WRITTEN, ids=lambda case: case.reason)
def test_what_the_official_reader_misreads_is_found_at_its_line(texts, tmp_path, case):
    path = spoilt(texts[case.version], case.edit, tmp_path / "a.seq")
    found = [one for one in check(path, PRISMA).errors if one.rule == "text" and case.told in one.message]
    assert found, check(path, PRISMA).text()
    if case.row is not None:
        number = int(re.search(r"line (\d+)", found[0].message)[1])
        assert path.read_text("utf-8").split("\n")[number - 1].startswith(case.row)


def bare(row: str, text: str) -> Edit:
    """Add a row at the beginning of a section's data."""

    def edit(parts: spoil.Parts) -> None:
        parts[row].insert(spoil.data(parts, row)[0], text)

    return edit


UNREADABLE = [
    Written("a shape is cut", spoil.replace("[SHAPES]", "\n0\n", "\n"), "shape"),
    Written("a shape's run has no end", spoil.all_of(
        lambda parts: spoil.add_shape(parts, [0, 0, 0]), spoil.replace("[SHAPES]", "num_samples 3\n0\n0\n0",
                                                                       "num_samples 8\n0\n0")), "shape 5"),
    Written("an event is not defined", spoil.block(PULSE_AT, 2, 99), "99", f"{PULSE_AT} 215 99"),
    Written("a shape is not defined", spoil.event(PULSE_AT, "RF", {2: 77}), "77", "4 94.2949 77"),
    Written("a block is numbered twice", spoil.block(PULSE_AT, 0, PULSE_AT - 1), "twice", f"{PULSE_AT - 1} 215"),
    Written("an event is numbered twice", spoil.change("[ADC]", 2, 0, 1), "twice", "1 64 32000 20 0 3"),
    Written("a gradient has the number of another kind", spoil.change("[TRAP]", 8, 0, 7), "twice", None),
    Written("extensions go round in a circle", spoil.change("[EXTENSIONS]", 1, 3, 4), "circle", None),
    Written("an extension is not defined", spoil.change("[EXTENSIONS]", 1, 2, 55), "55", None),
    Written("columns of 1.5 in a file of 1.4", spoil.replace("[VERSION]", "minor 5", "minor 4"), "columns", None,
            "1.5.0"),
    Written("columns of 1.4 in a file of 1.5", spoil.replace("[VERSION]", "minor 4", "minor 5"), "", None),
    Written("not a number", spoil.event(PRE_AT, "GY", {1: "NaN"}), "finite", "17 NaN"),
    Written("infinite", spoil.event(PRE_AT, "GY", {1: "inf"}), "finite", "17 inf"),
    Written("a word for a number", spoil.event(PRE_AT, "GY", {1: "strong"}), "'strong'", "17 strong"),
    Written("a negative delay", spoil.event(READ_AT, "ADC", {3: -20}), "negative", "4 64 32000 -20"),
    Written("a negative rise", spoil.event(PRE_AT, "GY", {2: -50}), "negative", "17"),
    Written("a fraction of a block's duration", spoil.block(PRE_AT, 1, 200.5), "whole", f"{PRE_AT} 200.5"),
    Written("a column too many", bare("[ADC]", "9 64 32000 20 0 1 0"), "columns", None),
    Written("a section that does not exist", spoil.renamed("[TRAP]", "[TRAPS]"), "no section", None),
    Written("no blocks", spoil.without("[BLOCKS]"), "[BLOCKS]", None),
    Written("no version", spoil.without("[VERSION]"), "[VERSION]", None),
    Written("a version of the future", spoil.replace("[VERSION]", "minor 4", "minor 6"), "not supported", None),
    Written("no extensions, though blocks use them", spoil.without("[EXTENSIONS]"), "[EXTENSIONS]", None),
]  # fmt: skip


@pytest.mark.parametrize("case", UNREADABLE, ids=lambda case: case.reason)
def test_what_cannot_be_read_is_refused_at_its_line(texts, tmp_path, case):
    path = spoilt(texts[case.version], case.edit, tmp_path / "a.seq")
    with pytest.raises(SeqError) as caught:
        check(path, PRISMA)
    assert case.told in str(caught.value)
    if case.row is not None:
        number = int(re.search(r"line (\d+)", caught.value.where)[1])
        assert path.read_text("utf-8").split("\n")[number - 1].split()[: len(case.row.split())] == case.row.split()


def test_line_ends_edits_and_cuts(texts, tmp_path):
    text, path = texts["1.4.1"], tmp_path / "a.seq"
    path.write_bytes(text.replace("\n", "\r\n").encode())
    assert any(one.rule == "text" and "CR" in one.message for one in check(path, PRISMA).warnings)
    path.write_text(text.replace("Name good", "Name größer"), "utf-8")
    place = f"line {text[: text.index('Name good')].count(chr(10)) + 1}, "
    assert any(one.message.startswith(place) and "ASCII" in one.message for one in check(path, PRISMA).warnings)
    path.write_text(text.replace("Name good", "Name bad"))
    assert any(one.rule == "signature" for one in check(path, PRISMA).warnings)
    unsigned = text[: text.index("\n[SIGNATURE]")]
    path.write_text(unsigned)
    assert any(one.rule == "signature" and "not signed" in one.message for one in check(path, PRISMA).warnings)
    path.write_text(unsigned.rstrip("\n"))
    assert any("no end" in one.message for one in check(path, PRISMA).errors)
    path.write_bytes(text.encode()[:-30] + b"\0" * 30)
    with pytest.raises(SeqError, match="binary"):
        check(path, PRISMA)
