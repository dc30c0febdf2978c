"""Labels against the trajectory: clean sequences give nothing, each fault is found at its block."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.export.findings import ERROR, WARNING, Finding
from pulsetwin.export.label_map import label_findings
from pulsetwin.export.label_map_lines import fit
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.library import NAMES, sequence_named
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import read_seq
from tests.sequences import made

FOV, SAMPLES, LINES = 0.2, 16, 12
SMALL = {
    "bssfp": [{}],
    "epi": [
        {},
        {"blips": "down", "partial_fourier": 0.75},
        {"blips": "both", "slices": 3, "repetitions": 2},
        {"blips": "none"},
        {"segments": 4, "navigators": False, "ramp_sampling": False},
    ],
    "flash": [{"matrix": (32, 24, 8)}, {"matrix": (32, 24, 1), "slices": 3, "echoes": 2}],
    "mprage": [{"matrix": (32, 24, 8)}],
    "radial": [{}, {"slices": 2}],
    "rare": [{"slices": 2}],
    "spiral": [{}],
    "ute": [{"matrix": (16, 16, 16), "spokes": 300, "dummies": 3}],
}


def told(found: list[Finding]) -> list[tuple[str, str, int | None, int]]:
    """Return severity, rule, block and count of what is not in order."""
    return [(one.severity, one.rule, one.block, one.count) for one in found if one.severity in (ERROR, WARNING)]


@dataclasses.dataclass
class Line:
    """A line of the test scans: its place in steps of 1 / FOV, its labels, and which way it runs."""

    place: tuple[float, float]
    labels: dict[str, int]
    way: int = 1


def lines_of(numbers=range(LINES), partitions=(0,), **labels) -> list[Line]:
    """Return lines whose labels are right: number 6 and partition 0 lie in the middle."""
    return [Line((n - 6, m), {"LIN": n, "PAR": m, **labels}) for m, n in itertools.product(partitions, numbers)]


def scan(lines: list[Line], path: Path, turn: np.ndarray | None = None, first: int = 0):
    """Write a gradient echo of some lines, three blocks each after one of zeros, in a frame turned by a matrix."""
    axes = np.eye(3) if turn is None else turn
    seq = pp.Sequence(made.SYSTEM)
    names = sorted({name for line in lines for name in line.labels})
    seq.add_block(pp.make_delay(1e-3), *(pp.make_label(name, "SET", first) for name in names))
    rf = pp.make_block_pulse(0.2, duration=1e-3, delay=1e-4, system=made.SYSTEM, use="excitation")
    adc = pp.make_adc(SAMPLES, dwell=2e-5, delay=2e-4, system=made.SYSTEM)
    for line in lines:
        read = line.way * SAMPLES / FOV / (SAMPLES * 2e-5)
        before = -read * (3.2e-4 / 2 + 2e-4 - 5e-5)
        seq.add_block(rf)
        seq.add_block(*lobes(axes @ [before, line.place[0] / FOV, line.place[1] / FOV]))
        flat = [
            pp.make_trapezoid(axis, amplitude=part, rise_time=1e-4, flat_time=5e-4, system=made.SYSTEM)
            for axis, part in zip("xyz", axes @ [read, 0, 0], strict=True)
        ]
        seq.add_block(*flat, adc, *(pp.make_label(name, "SET", value) for name, value in line.labels.items()))
    return read_seq(made.write(seq, path / "scan.seq", "1.5.0"))


def lobes(areas: np.ndarray) -> list:
    return [
        pp.make_trapezoid(axis, area=area, duration=1e-3, system=made.SYSTEM)
        for axis, area in zip("xyz", areas, strict=True)
    ]


def block_of(line: int) -> int:
    """Return the block of the acquisition of a line: one of zeros comes first."""
    return 3 * line + 4


def built(name: str, changes: dict, scanner: str, path: Path):
    """Return a sequence of the library as it is read from its file."""
    module = sequence_named(name)
    seq = module.build(module.Protocol(**changes), Scanner.preset(scanner))
    return read_seq(made.write(seq, path / f"{name}.seq", "1.4.1"))


@pytest.mark.parametrize(("name", "changes"), [(name, one) for name, many in SMALL.items() for one in many], ids=str)
def test_sequences_of_the_library_agree_with_their_labels(tmp_path, name, changes):
    assert told(label_findings(built(name, changes, "siemens-prisma", tmp_path))) == []


@pytest.mark.slow
@pytest.mark.parametrize("scanner", ["siemens-prisma", "siemens-terra", "bruker-biospec-94"])
@pytest.mark.parametrize("name", NAMES)
def test_every_sequence_as_it_comes_agrees_with_its_labels(tmp_path, name, scanner):
    assert told(label_findings(built(name, {}, scanner, tmp_path))) == []


def turned(degrees: float) -> np.ndarray:
    """Return a rotation about an oblique axis."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(np.deg2rad(degrees) * np.array([1, 2, 2]) / 3).as_matrix()


@pytest.mark.parametrize("angle", [0, 20, 90])
def test_a_volume_in_any_orientation_is_clean(tmp_path, angle):
    assert told(label_findings(scan(lines_of(partitions=range(4)), tmp_path, turned(angle)))) == []


@pytest.mark.parametrize("angle", [0, 20])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"LIN": 3}, [(ERROR, "label-LIN", 1), (ERROR, "label-cell", 1), (WARNING, "label-missing", 1)]),
        ({"LIN": 40000}, [(ERROR, "label-LIN", 1)]),
        ({"PAR": 0}, [(ERROR, "label-PAR", 1), (ERROR, "label-cell", 1), (WARNING, "label-missing", 1)]),
        ({"REV": 1}, [(ERROR, "label-REV", 1)]),
        ({"SLC": 1}, [(WARNING, "label-missing", 1)]),
    ],
)
def test_one_wrong_label_is_found_where_it_is(tmp_path, change, expected, angle):
    lines = lines_of(partitions=range(3), REV=0, SLC=0)
    wrong = LINES + 7
    lines[wrong].labels |= change
    found = told(label_findings(scan(lines, tmp_path, turned(angle))))
    assert [(severity, rule, count) for severity, rule, _, count in found] == expected
    named = (
        next(block for _, rule, block, _ in found if rule not in ("label-missing", "label-cell"))
        if expected[0][0] == ERROR
        else None
    )
    assert named in (None, block_of(wrong))


@pytest.mark.parametrize(("shift", "severity"), [(1.0, ERROR), (-3.0, ERROR), (0.2, WARNING), (0.002, WARNING)])
def test_one_wrong_gradient_is_found_where_it_is(tmp_path, shift, severity):
    lines = lines_of()
    lines[9].place = (lines[9].place[0] + shift, 0)
    (found,) = [one for one in label_findings(scan(lines, tmp_path)) if one.severity in (ERROR, WARNING)]
    assert (found.severity, found.rule, found.block, found.count) == (severity, "label-LIN", block_of(9), 1)
    assert found.value == pytest.approx(-shift, rel=1e-3)


def test_a_line_beside_the_others_is_found_in_the_frame_that_is_not_encoded(tmp_path):
    """Without partitions a step along z is no other line, but k differs from what the labels of the others say."""
    lines = lines_of()
    lines[4].place = (lines[4].place[0], 2.0)
    assert told(label_findings(scan(lines, tmp_path))) == []  # as in z-shimming, which no label tells


def test_directions_and_rev(tmp_path):
    lines = [dataclasses.replace(line, way=(-1) ** n) for n, line in enumerate(lines_of())]
    assert told(label_findings(scan(lines, tmp_path))) == [(WARNING, "label-REV", block_of(1), 6)]
    right = [dataclasses.replace(line, labels=line.labels | {"REV": n % 2}) for n, line in enumerate(lines)]
    assert told(label_findings(scan(right, tmp_path))) == []
    right[3].labels["REV"] = 0
    assert told(label_findings(scan(right, tmp_path))) == [(ERROR, "label-REV", block_of(3), 1)]


def test_slices_may_be_tilted_against_each_other(tmp_path):
    whole, slices = pp.Sequence(made.SYSTEM), [np.eye(3)[[0, 1, 2]], np.eye(3)[[1, 2, 0]], turned(30)]
    whole.add_block(pp.make_delay(1e-3), *(pp.make_label(name, "SET", 0) for name in ("LIN", "PAR", "SLC")))
    for number, turn in enumerate(slices):
        lines = lines_of(SLC=number)
        lines[2].labels["LIN"] = 3 if number == 1 else 2
        scan(lines, tmp_path, turn)
        part = pp.Sequence(made.SYSTEM)
        part.read(str(tmp_path / "scan.seq"))
        for block in list(part.block_events)[1:]:
            events = vars(part.get_block(block))
            kept = [events[name] for name in ("rf", "gx", "gy", "gz", "adc") if events[name] is not None]
            whole.add_block(*kept, *(events.get("label") or {}).values())
    found = told(label_findings(read_seq(made.write(whole, tmp_path / "whole.seq", "1.5.0"))))
    assert found[0] == (ERROR, "label-LIN", block_of(LINES + 2), 1)
    assert {rule for _, rule, _, _ in found} == {"label-LIN", "label-cell", "label-missing"}


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        (range(64), None),
        (range(20, 64), None),
        (range(0, 64, 2), None),
        (range(1, 64, 3), None),
        (sorted({*range(0, 64, 2), *range(20, 44)}), None),
        (sorted({*range(0, 64, 4), *range(20, 44)}), None),
        ([0, 1, 2, 5, 9, 10, 20, 28, 31, 32, 33, 40, 55, 63], None),
        ([n for n in range(64) if n != 17], 17),
        ([n for n in range(64) if n != 62], 62),
        ([n for n in range(64) if n not in (5, 6, 40)], 5),
        ([n for n in range(0, 64, 2) if n != 30], 30),
    ],
)
def test_holes_are_told_but_not_what_is_left_out_on_purpose(tmp_path, numbers, missing):
    found = label_findings(scan(lines_of(numbers), tmp_path))
    assert [one.rule for one in found if one.severity == WARNING] == ["label-missing"] * (missing is not None)
    if missing is not None:
        assert any(f"LIN {missing} is left out" in one.message for one in found)


def test_what_undersamples_a_volume_is_no_hole(tmp_path):
    caipi = [line for line in lines_of(partitions=range(6)) if (line.labels["LIN"] + line.labels["PAR"]) % 2 == 0]
    assert told(label_findings(scan(caipi, tmp_path))) == []
    ellipse = [
        line for line in lines_of(partitions=range(-4, 5)) if (line.place[0] / 6) ** 2 + (line.place[1] / 4) ** 2 <= 1
    ]
    for line in ellipse:
        line.labels["PAR"] += 4
    assert told(label_findings(scan(ellipse, tmp_path))) == []


def test_repeated_cells(tmp_path):
    once = lines_of()
    again = label_findings(scan([*once, *once], tmp_path))
    assert told(again) == [(WARNING, "label-cell", block_of(LINES), LINES)]
    assert told(label_findings(scan([*lines_of(AVG=0), *lines_of(AVG=1)], tmp_path))) == []
    assert told(label_findings(scan([*once, once[5]], tmp_path))) == [(ERROR, "label-cell", block_of(LINES), 1)]


def test_scans_without_labels_or_images(tmp_path):
    bare = [dataclasses.replace(line, labels={}) for line in lines_of()]
    assert told(label_findings(scan(bare, tmp_path))) == [(WARNING, "label-none", block_of(0), 1)]
    assert told(label_findings(scan(lines_of(NOISE=1), tmp_path))) == [(WARNING, "label-image", block_of(0), 1)]


def test_lines_that_count_where_k_stays(tmp_path):
    still = [dataclasses.replace(line, place=(0, 0)) for line in lines_of()]
    assert {rule for _, rule, _, _ in told(label_findings(scan(still, tmp_path)))} == {"label-LIN"}
    assert {one[0] for one in told(label_findings(scan(still, tmp_path)))} == {WARNING}


def test_positions_are_those_of_pypulseq(tmp_path):
    """The centre and step that the labels are compared with, from pypulseq's trajectory of the same file."""
    seq = scan(lines_of(partitions=range(3)), tmp_path, turned(20))
    other = pp.Sequence(made.SYSTEM)
    other.read(str(seq.path))
    k = other.calculate_kspace()[0].T.reshape(-1, SAMPLES, 3)[:, SAMPLES // 2]
    across = turned(20)[:, 1:]
    centre, off = fit(played_readouts(seq).labels["LIN"], k @ across)
    assert centre == pytest.approx(6, abs=1e-3)
    assert np.abs(off).max() < 1e-3


@pytest.mark.parametrize("outliers", [0, 1, 5, 15])
def test_the_fit_holds_against_a_minority(outliers):
    rng = np.random.default_rng(1)
    offset = rng.normal(size=(40, 2)) * 100
    label = 20 + offset @ [0.02, -0.03]
    label[:outliers] += rng.uniform(1, 60000, outliers)
    centre, off = fit(label, offset)
    assert centre == pytest.approx(20, abs=1e-4)
    assert np.abs(off[outliers:]).max() < 1e-4


def test_a_file_that_states_another_centre(tmp_path):
    seq = scan(lines_of(), tmp_path)
    stated = dataclasses.replace(seq, definitions=seq.definitions | {"kSpaceCenterLine": 5.0})
    assert [one[1] for one in told(label_findings(stated))] == ["label-centre"]
    right = dataclasses.replace(seq, definitions=seq.definitions | {"kSpaceCenterLine": 6.0})
    assert told(label_findings(right)) == []
