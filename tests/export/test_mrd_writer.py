import numpy as np
import pytest

from pulsetwin.errors import MismatchError, OutputExistsError, ProtocolError
from pulsetwin.export.mrd import write
from pulsetwin.rawdata import LABELS, RawData, Readouts, Trajectory
from pulsetwin.recon.read import read
from tests.twix_scans import RAS_OF_PULSEQ, noise_like, rich_scan

pytest.importorskip("ismrmrd")


def test_everything_comes_back(tmp_path):
    raw = rich_scan(sequence="pulseq")
    write(raw, tmp_path / "scan.h5")
    again = read(tmp_path / "scan.h5")
    assert np.array_equal(again.noise, raw.noise)
    for group in raw.groups:
        (same,) = (one for one in again.groups if one.samples.shape[2] == group.samples.shape[2])
        order = np.argsort(group.start_time, kind="stable")
        assert np.array_equal(same.samples[:], group.samples[order])
        for name in ("ECO", "LIN", "SLC"):
            assert np.array_equal(same.label(name), group.label(name)[order])
        for name in ("reversed", "phase_correction", "navigator", "imaging"):
            assert np.array_equal(same.flag(name), group.flag(name)[order])
        assert np.allclose(same.dwell, group.dwell)
    assert np.allclose(again.geometry.rotation, RAS_OF_PULSEQ)
    assert np.allclose(again.geometry.centers, raw.geometry.centers)
    assert np.allclose(again.geometry.fov, raw.geometry.fov)
    assert again.geometry.matrix == raw.geometry.matrix
    assert again.geometry.patient_position == "HFS"


def test_positions_come_back(tmp_path):
    rng = np.random.default_rng(0)
    raw = rich_scan()
    route = Trajectory.from_positions(rng.uniform(-100, 100, (5, 16, 3)))
    group = Readouts(noise_like(rng, 5, 2, 16), route, np.arange(5) * 0.01, np.full(5, 1e-5))
    write(RawData((group,), None, 1e-5, raw.geometry), tmp_path / "scan.h5")
    found = read(tmp_path / "scan.h5").groups[0]
    assert np.allclose(found.trajectory.positions(), route.positions(), atol=1e-4)
    assert np.allclose(found.start_time, group.start_time)


def test_flags_signature_and_unit_come_back(tmp_path):
    """Small positions would be taken for fractions of the matrix, if the file did not say what they are."""
    rng = np.random.default_rng(0)
    silent = np.array([True, False, True, False, False])
    route = Trajectory.from_positions(rng.uniform(-0.4, 0.4, (5, 16, 3)))
    flags = {"imaging": ~silent, "reference": np.array([True, False, False, True, False])}
    group = Readouts(noise_like(rng, 5, 2, 16), route, np.arange(5) * 0.01, np.full(5, 1e-5), {}, flags)
    signature = "0123456789abcdef" * 2
    raw = RawData((group,), None, 1e-5, rich_scan().geometry, header={"signature": signature})
    write(raw, tmp_path / "scan.h5")
    again = read(tmp_path / "scan.h5")
    for name in ("imaging", "reference", "noise", "navigator", "phase_correction"):
        assert np.array_equal(again.groups[0].flag(name), group.flag(name)), name
    assert again.header["signature"] == signature
    assert np.allclose(again.groups[0].trajectory.positions(), route.positions(), atol=1e-6)
    assert again.warnings == ()


def test_dummy_scans_are_those_of_the_standard(tmp_path):
    """As the package that defines MRD reads them."""
    import ismrmrd

    group = Readouts(
        np.ones((3, 1, 4), np.complex64), None, np.arange(3) * 0.01, np.full(3, 1e-5), {},
        {"imaging": np.array([True, False, False]), "navigator": np.array([False, True, False])},
    )  # fmt: skip
    write(RawData((group,), None, 1e-5, rich_scan().geometry), tmp_path / "scan.h5")
    with ismrmrd.Dataset(str(tmp_path / "scan.h5"), create_if_needed=False) as data:
        marked = [data.read_acquisition(k).is_flag_set(ismrmrd.ACQ_IS_DUMMYSCAN_DATA) for k in range(3)]
    assert marked == [False, False, True]


def test_the_sequence_of_a_file_is_confirmed(tmp_path, scans):
    folder = scans / "pulseq_epi"
    raw = read(folder / "basic_epi_pe_plus.dat", folder / "basic_epi_pe_plus.seq")
    write(raw, tmp_path / "epi.h5")
    assert read(tmp_path / "epi.h5", folder / "basic_epi_pe_plus.seq").warnings == ()
    with pytest.raises(MismatchError, match="signature"):
        read(tmp_path / "epi.h5", folder / "basic_epi_pe_none.seq")


@pytest.mark.parametrize(("name", "value"), [("LIN", 70_000), ("SLC", -1), ("XYZ", 1), ("ACQ", 65_536)])
def test_labels_out_of_range_are_refused(tmp_path, name, value):
    labels = {name: np.array([0, value], np.int32)}
    group = Readouts(np.zeros((2, 1, 8), np.complex64), None, np.zeros(2), np.full(2, 1e-5), labels)
    with pytest.raises(ProtocolError, match=f"label {name}"):
        write(RawData((group,), None, 1e-5, rich_scan().geometry), tmp_path / "scan.h5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", LABELS)
def test_the_largest_label_comes_back(tmp_path, name):
    labels = {name: np.array([0, 65_535], np.int32)}
    group = Readouts(np.zeros((2, 1, 8), np.complex64), None, np.zeros(2), np.full(2, 1e-5), labels)
    write(RawData((group,), None, 1e-5, rich_scan().geometry), tmp_path / "scan.h5")
    assert read(tmp_path / "scan.h5").groups[0].label(name).tolist() == [0, 65_535]


def test_existing_file_stays(tmp_path):
    (tmp_path / "scan.h5").write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        write(rich_scan(), tmp_path / "scan.h5")
    assert (tmp_path / "scan.h5").read_bytes() == b"mine"


def test_nothing_to_write(tmp_path):
    empty = RawData((), None, 1e-5, rich_scan().geometry)
    with pytest.raises(ProtocolError, match="no readouts"):
        write(empty, tmp_path / "scan.h5")
