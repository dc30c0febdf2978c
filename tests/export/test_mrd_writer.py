import numpy as np
import pytest

from pulsetwin.errors import OutputExistsError, ProtocolError
from pulsetwin.export.mrd import write
from pulsetwin.rawdata import RawData, Readouts, Trajectory
from pulsetwin.recon.read import read
from tests.twix_scans import RAS_OF_PULSEQ, noise_like, rich_scan

pytest.importorskip("ismrmrd")


def test_everything_comes_back(tmp_path):
    raw = rich_scan(sequence="pulseq")
    write(raw, tmp_path / "scan.h5")
    again = read(tmp_path / "scan.h5")
    assert np.array_equal(again.noise.reshape(again.noise.shape[0], -1), raw.noise[:, :4096])
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


def test_existing_file_stays(tmp_path):
    (tmp_path / "scan.h5").write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        write(rich_scan(), tmp_path / "scan.h5")
    assert (tmp_path / "scan.h5").read_bytes() == b"mine"


def test_nothing_to_write(tmp_path):
    empty = RawData((), None, 1e-5, rich_scan().geometry)
    with pytest.raises(ProtocolError, match="no readouts"):
        write(empty, tmp_path / "scan.h5")
