from __future__ import annotations

import warnings

import numpy as np
import pytest

from pulsetwin.errors import FileError, TwixError
from pulsetwin.export.twix import write
from pulsetwin.recon.read import read
from tests.twix_scans import rich_scan

NAMES = [
    "pulseq_epi/basic_epi_pe_plus",
    "pulseq_epi/ramp_epi_pe_none",
    "pulseq_se/image",
    "pulseq_se/slice_profile_sinc",
]


def by_twixtools(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twixtools = pytest.importorskip("twixtools")
        return twixtools.read_twix(str(path), verbose=False)[-1]["mdb"]


@pytest.mark.parametrize("name", NAMES)
def test_samples_equal_those_of_twixtools(scans, name):
    path = scans / f"{name}.dat"
    raw = read(path, path.with_suffix(".seq"), trust_seq="image" in name)
    expected = np.array([mdb.data for mdb in by_twixtools(path)])
    group = raw.groups[0]
    assert group.samples.dtype == np.complex64
    assert np.array_equal(group.samples[:], expected)
    assert group.samples.shape == expected.shape
    assert len(group.trajectory) == len(expected)


def test_vendor_samples_and_trajectory(vendor_scans):
    raw = read(vendor_scans / "gre.dat")
    group = raw.groups[0]
    mdbs = by_twixtools(vendor_scans / "gre.dat")
    assert np.array_equal(group.samples[:], np.array([mdb.data for mdb in mdbs]))
    k = group.trajectory.positions() * 0.2
    assert np.allclose(k[:, 160, 0], 0)
    assert np.allclose(np.diff(k[0, :, 0]), 0.5)
    assert np.allclose(k[:, 0, 1], np.arange(160) - 80)
    assert np.allclose(k[:, :, 2], 0)
    assert raw.warnings == ()
    assert raw.header["field_strength"] == pytest.approx(2.89362)
    assert raw.geometry.patient_position == "HFS"
    assert group.dwell[0] == pytest.approx(11.6e-6)


def test_lazy_samples_index_like_an_array(vendor_scans):
    samples = read(vendor_scans / "gre.dat").groups[0].samples
    whole = samples[:]
    for index in (
        5,
        -1,
        slice(3, 9),
        slice(None, None, 7),
        slice(9, 3, -2),
        np.array([7, 2, 2, 150]),
        whole[:, 0, 0].real > 0,
    ):
        assert np.array_equal(samples[index], whole[index])
    assert samples[np.array([], int)].shape == (0, 2, 320)
    assert np.array_equal(np.asarray(samples), whole)


def test_selecting_readouts_stays_lazy(vendor_scans):
    group = read(vendor_scans / "gre.dat").groups[0]
    part = group.select(group.label("LIN") % 2 == 1)
    assert np.array_equal(part.samples[:], group.samples[:][1::2])


def test_epi_trajectory_alternates(scans):
    path = scans / "pulseq_epi" / "basic_epi_pe_plus"
    raw = read(path.with_suffix(".dat"), path.with_suffix(".seq"))
    k = raw.groups[0].trajectory.positions() * 0.22
    assert np.array_equal(np.sign(np.diff(k[:, :, 0], axis=1).mean(1)), np.tile([1, -1], 48))
    assert np.allclose(np.diff(k[:, 48, 1]), -1, atol=1e-3)
    assert raw.geometry.matrix == (96, 96, 1)
    assert raw.geometry.fov == pytest.approx((0.22, 0.22, 0.004))


def test_a_pulseq_scan_without_its_seq_has_no_trajectory(scans):
    raw = read(scans / "pulseq_se" / "image.dat")
    assert raw.groups[0].trajectory is None
    assert any("--seq" in warning for warning in raw.warnings)


def test_noise_may_come_from_another_file(tmp_path, vendor_scans):
    raw = read(vendor_scans / "gre.dat", noise=vendor_scans / "gre.dat")
    assert raw.noise.shape == (2, 160 * 320)
    write(rich_scan(), tmp_path / "three_coils.dat")
    with pytest.raises(TwixError, match="3 channels, the scan 2"):
        read(vendor_scans / "gre.dat", noise=tmp_path / "three_coils.dat")


def test_missing_lines_are_reported_by_place(tmp_path):
    raw = rich_scan(noise=100)
    main = raw.groups[0]
    keep = ~((main.labels["SLC"] == 1) & (main.labels["ECO"] == 0) & (main.labels["LIN"] == 5))
    write(type(raw)((main.select(keep),), None, 0.0, raw.geometry, header=raw.header), tmp_path / "a.dat")
    found = read(tmp_path / "a.dat").warnings
    assert any("1 lines are missing at Sli 1, Eco 0" in warning and "first line 5" in warning for warning in found)


def test_syncdata_blocks_are_skipped(tmp_path):
    path = tmp_path / "a.dat"
    raw = rich_scan(noise=100)
    write(type(raw)((raw.groups[0],), None, 0.0, raw.geometry, header=raw.header), path)
    before = read(path)
    data = bytearray(path.read_bytes())
    at = int(before.groups[0].samples.offset[5])
    block = bytearray(data[at : at + 192]) + bytes(320)
    block[0:4] = (512).to_bytes(4, "little")
    block[40:48] = (1 << 5).to_bytes(8, "little")
    data[at:at] = block
    length = int.from_bytes(data[24:32], "little") + 512
    data[24:32] = length.to_bytes(8, "little")
    path.write_bytes(data)
    after = read(path)
    assert np.array_equal(after.groups[0].samples[:], raw.groups[0].samples)
    assert after.warnings == before.warnings


def test_partial_says_how_many_of_how_many(tmp_path, scans):
    source = scans / "pulseq_epi" / "ramp_epi_pe_plus"
    data = source.with_suffix(".dat").read_bytes()
    path = tmp_path / "cut.dat"
    path.write_bytes(data[:-60_000])
    with pytest.raises(TwixError, match=r"byte \d+ \(readout \d+\).*--partial"):
        read(path, source.with_suffix(".seq"))
    raw = read(path, source.with_suffix(".seq"), partial=True)
    count = len(raw.groups[0])
    assert 0 < count < 96
    assert any(f"{count} of the 96" in warning for warning in raw.warnings)
    whole = read(source.with_suffix(".dat"), source.with_suffix(".seq")).groups[0]
    assert np.array_equal(raw.groups[0].samples[:], whole.samples[:count])


def test_partial_without_a_seq_estimates_from_the_files_table(tmp_path, vendor_scans):
    path = tmp_path / "cut.dat"
    path.write_bytes((vendor_scans / "gre.dat").read_bytes()[:1_200_000])
    raw = read(path, partial=True)
    count = (1_200_000 - 796_352) // 5376
    assert len(raw.groups[0]) == count
    assert any(f"The {count} complete readouts before it, of about 160, were used" in w for w in raw.warnings)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"hello world" * 100, "not a Siemens TWIX file"), (b"[VERSION]\nmajor 1\n", "pass it as seq")],
)
def test_what_is_not_raw_data_is_named(tmp_path, content, words):
    path = tmp_path / "a.dat"
    path.write_bytes(content)
    with pytest.raises(FileError, match=words):
        read(path)
    with pytest.raises(FileError, match="no such file"):
        read(tmp_path / "absent.dat")
