"""Folders of Spinsolve: written and read again, read by nmrglue where it is installed, and damaged ones."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from pulsetwin import cli
from pulsetwin.errors import FileError, MismatchError, OutputExistsError, ProtocolError
from pulsetwin.export.spinsolve import write
from pulsetwin.recon.read import read
from pulsetwin.recon.spinsolve import read as read_folder
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.raser import Protocol, build
from pulsetwin.sim.phantoms import tube
from pulsetwin.sim.raser.scan import acquire_raser

FOV = (7.4e-3, 7.4e-3, 1e-2)


def sequence(scanner="magritek-spinsolve-60", **given):
    protocol = Protocol(matrix=(16, 16, 1), pumping=0.1, dwell=2e-3, **{"angles": 12, "samples": 256, **given})
    return build(protocol, Scanner.preset(scanner))


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A `.seq`, its scan and the folder that it was written to."""
    folder = tmp_path_factory.mktemp("spinsolve")
    sequence().write(str(folder / "raser.seq"))
    raw = acquire_raser(folder / "raser.seq", tube((1, 16, 16), FOV), snr=100)
    write(raw, folder / "scan.spinsolve")
    return folder / "raser.seq", raw, folder / "scan.spinsolve"


@pytest.fixture
def copy(scan, tmp_path):
    return shutil.copytree(scan[2], tmp_path / "copy")


def test_what_is_written_is_read_again(scan):
    seq, raw, folder = scan
    found, expected = read(folder, seq), raw.groups[0]
    assert np.array_equal(found.groups[0].samples, expected.samples)
    assert np.array_equal(found.groups[0].label("LIN"), expected.label("LIN"))
    assert np.allclose(found.groups[0].trajectory.positions(), expected.trajectory.positions())
    assert np.allclose(found.groups[0].dwell, 2e-3)
    assert found.geometry.fov == pytest.approx(FOV)
    assert found.definitions["RaserAngles"] == raw.definitions["RaserAngles"]
    assert not any("Nothing confirms" in warning for warning in found.warnings)  # the signature does


def test_without_a_sequence(scan):
    found = read(scan[2])
    assert found.groups[0].trajectory is None
    assert list(found.groups[0].label("LIN")) == list(range(12))
    assert any("--seq" in warning for warning in found.warnings)
    one = read(scan[2] / "003")
    assert np.array_equal(one.groups[0].samples[0], scan[1].groups[0].samples[2])
    assert read(scan[2], noise=scan[2] / "001").noise.shape == (1, 256)


def test_nmrglue_reads_the_same(scan):
    nmrglue = pytest.importorskip("nmrglue")
    told, signal = nmrglue.spinsolve.read(str(scan[2] / "002"))
    assert np.array_equal(signal, np.asarray(scan[1].groups[0].samples)[1, 0])
    assert float(told["acqu"]["dwellTime"]) == pytest.approx(2000)
    assert nmrglue.spinsolve.guess_udic(told, signal)[0]["sw"] == pytest.approx(500)


def test_numbers_in_names_count_as_such(copy):
    for number in range(1, 13):
        (copy / f"{number:03d}").rename(copy / f"angle {number}")
    assert len(read(copy).groups[0]) == 12
    assert np.array_equal(read(copy).groups[0].samples[10, 0], read(copy / "angle 11").groups[0].samples[0, 0])


def test_damage_is_told(copy, tmp_path):
    data, told = copy / "002" / "data.1d", copy / "002" / "acqu.par"
    good, lines = data.read_bytes(), told.read_text()
    for bad, message in (
        (good[:20], "header"), (good[:-8], "bytes for"), (good[:12] + bytes(4) + good[16:], "type 0"),
        (good[:-4] + np.float32(np.nan).tobytes(), "no numbers"),
    ):  # fmt: skip
        data.write_bytes(bad)
        with pytest.raises(FileError, match=message):
            read(copy)
    data.write_bytes(good)
    for bad, message in (
        ("dwellTime = 1000\n", "dwellTime is 1000"), ("dwellTime = fast\n", "no number"),
        ("dwellTime = inf\n", "dwellTime is inf"), ("dwellTime = nan\n", "dwellTime is nan"),
    ):  # fmt: skip
        told.write_text(bad)
        with pytest.raises(FileError, match=message):
            read(copy)
    for bad, message in (("60.0.0", "b1Freq is '60.0.0', which is no number"), ("inf", "b1Freq is inf MHz")):
        (copy / "001" / "acqu.par").write_text(f"{lines}b1Freq = {bad}\n")
        with pytest.raises(FileError, match=message):
            read(copy / "001")
    (copy / "001" / "acqu.par").write_text(lines)
    told.unlink()
    with pytest.raises(FileError, match=r"acqu\.par"):
        read(copy)
    told.write_text(lines)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match=r"holds no data\.1d"):
        read_folder(tmp_path / "empty")


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("missing", [("005",), ("001",), ("001", "005", "006", "012")])
def test_missing_angles_are_named(copy, scan, partial, missing):
    """Readouts are numbered by order: with some missing before others, all after them would be taken for others."""
    for name in missing:
        shutil.rmtree(copy / name)
    inner = ", ".join(name for name in missing if name != "012")
    with pytest.raises(MismatchError, match=f"of 12 experiments, up to 01[12] but without {inner}: copy the missing"):
        read(copy, scan[0], partial=partial)


def test_last_angles_may_be_missing_or_damaged(copy, scan):
    shutil.rmtree(copy / "012")
    with pytest.raises(MismatchError, match="--partial"):
        read(copy, scan[0])
    raw = read(copy, scan[0], partial=True)
    assert np.array_equal(raw.groups[0].samples[:], scan[1].groups[0].samples[:11])
    data = copy / "011" / "data.1d"
    data.write_bytes(data.read_bytes()[:-100])
    with pytest.raises(FileError, match="bytes for 256 samples; copy it again"):
        read(copy, scan[0])
    raw = read(copy, scan[0], partial=True)
    assert len(raw.groups[0]) == 10
    assert any("Only the 10 experiments before the first damage" in one and str(data) in one for one in raw.warnings)
    (copy / "001" / "data.1d").write_bytes(b"")
    with pytest.raises(FileError, match="header"):
        read(copy, scan[0], partial=True)


@pytest.mark.parametrize("stamp", ["1201{0:02d}-1000{1:02d} angle", "202612011000{1:02d}"])
def test_names_that_do_not_count_are_told_of(copy, scan, stamp):
    for number in range(1, 13):
        (copy / f"{number:03d}").rename(copy / stamp.format(number, 5 * number))
    assert not any("Names in" in one for one in read(copy, scan[0]).warnings)
    shutil.rmtree(copy / stamp.format(12, 60))
    assert any("the last ones were taken to be" in one for one in read(copy, scan[0], partial=True).warnings)


def test_unequal_projections_are_told(copy):
    whole = read(copy / "001").groups[0].samples[0, 0]
    header = np.frombuffer((copy / "001" / "data.1d").read_bytes(), "<i4", 8).copy()
    header[4] = 100
    times = 2 * np.arange(100, dtype="<f4")
    (copy / "001" / "data.1d").write_bytes(header.tobytes() + times.tobytes() + whole[:100].astype("<c8").tobytes())
    with pytest.raises(FileError, match="differ"):
        read(copy)


def test_what_has_no_place_is_told(tmp_path):
    raw = acquire_raser(sequence("siemens-prisma", samples=32768, angles=1), tube((1, 16, 16), FOV))
    with pytest.raises(ProtocolError, match="acquisition"):
        write(raw, tmp_path / "scan.spinsolve")


def test_a_shorter_scan_leaves_nothing_of_a_longer_one(copy, tmp_path):
    sequence(angles=5).write(str(tmp_path / "short.seq"))
    raw = acquire_raser(tmp_path / "short.seq", tube((1, 16, 16), FOV))
    (copy / "notes.txt").write_text("mine")
    (copy / "007" / "spectrum.csv").write_text("mine")
    write(raw, copy, force=True)
    assert len(read(copy, tmp_path / "short.seq").groups[0]) == 5
    assert sorted(one.name for one in copy.iterdir()) == ["001", "002", "003", "004", "005", "007", "notes.txt"]
    assert [one.name for one in (copy / "007").iterdir()] == ["spectrum.csv"]


@pytest.mark.parametrize("name", ["003", "014", "measured", "."])
def test_measured_experiments_are_neither_replaced_nor_mixed(copy, scan, capsys, name):
    """An experiment of ours is told by a line in acqu.par."""
    shutil.copytree(copy / "001", copy / name, dirs_exist_ok=True)
    told = (copy / name / "acqu.par").read_text().splitlines()
    (copy / name / "acqu.par").write_text("\n".join(line for line in told if "simulatedBy" not in line))
    before = {one: one.read_bytes() for one in copy.rglob("*.*") if one.is_file()}
    with pytest.raises(OutputExistsError, match="did not simulate"):
        write(scan[1], copy, force=True)
    out = copy.rename(copy.with_name("copy.spinsolve"))
    assert cli.main(["simulate", str(scan[0]), "--phantom", "tube", "-o", str(out), "--force"]) == 2
    assert "did not simulate" in capsys.readouterr().err
    assert {copy / one.relative_to(out): one.read_bytes() for one in out.rglob("*.*") if one.is_file()} == before


def test_simulate_writes_a_folder(scan, tmp_path):
    out = tmp_path / "scan.spinsolve"
    assert cli.main(["simulate", str(scan[0]), "--phantom", "tube", "--matrix", "16", "-o", str(out)]) == 0
    assert len(read(out, scan[0]).groups[0]) == 12
