from __future__ import annotations

import sys

import numpy as np
import pytest

from pulsetwin.errors import FileError, MismatchError, MissingExtraError, MrdError
from pulsetwin.recon.read import read

XML = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
 <measurementInformation><patientPosition>HFS</patientPosition></measurementInformation>
 <acquisitionSystemInformation>
  <systemVendor>SIEMENS</systemVendor><systemFieldStrength_T>2.89</systemFieldStrength_T>
 </acquisitionSystemInformation>
 <experimentalConditions><H1resonanceFrequency_Hz>123000000</H1resonanceFrequency_Hz></experimentalConditions>
 <encoding>
  <encodedSpace><matrixSize><x>16</x><y>6</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>400</x><y>200</y><z>5</z></fieldOfView_mm></encodedSpace>
  <reconSpace><matrixSize><x>8</x><y>6</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>200</x><y>200</y><z>5</z></fieldOfView_mm></reconSpace>
  <encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>5</maximum><center>3</center>
   </kspace_encoding_step_1></encodingLimits>
  <trajectory>cartesian</trajectory>
 </encoding>
</ismrmrdHeader>"""


def acquisition(ismrmrd, values, flags=(), trajectory=None, **fields):
    head = {"sample_time_us": 5.0, "read_dir": (0, 1, 0), "phase_dir": (-1, 0, 0), "slice_dir": (0, 0, 1)}
    made = ismrmrd.Acquisition.from_array(values, trajectory, center_sample=values.shape[1] // 2, **fields)
    for name, value in head.items():
        target = getattr(made, name)
        if isinstance(value, tuple):
            target[:] = value
        else:
            setattr(made, name, value)
    made.position[:] = (10, 20, 30)
    for flag in flags:
        made.set_flag(getattr(ismrmrd, flag))
    return made


@pytest.fixture
def scan(tmp_path):
    ismrmrd = pytest.importorskip("ismrmrd")
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((7, 2, 16)) + 1j * rng.standard_normal((7, 2, 16))).astype(np.complex64)
    path = tmp_path / "scan.h5"
    with ismrmrd.Dataset(str(path), mode="w") as data:
        data.write_xml_header(XML)
        for k in range(7):
            flags = ["ACQ_IS_NOISE_MEASUREMENT"] if k == 0 else (["ACQ_IS_REVERSE"] if k % 2 else [])
            made = acquisition(ismrmrd, values[k], flags, acquisition_time_stamp=1000 + 4 * k)
            made.idx.kspace_encode_step_1 = max(k - 1, 0)
            data.append_acquisition(made)
    return path, values


def test_samples_labels_noise_and_trajectory(scan):
    path, values = scan
    raw = read(path)
    group = raw.groups[0]
    assert np.array_equal(group.samples[:], values[1:])
    assert np.array_equal(group.samples[[4, 1]], values[[5, 2]])
    assert np.array_equal(group.samples[2], values[3])
    assert np.array_equal(raw.noise, values[0])
    assert raw.noise_dwell == pytest.approx(5e-6)
    assert np.array_equal(group.label("LIN"), np.arange(6))
    assert np.array_equal(group.flag("reversed"), [True, False] * 3)
    k = group.trajectory.positions()
    assert np.allclose(k[1, :, 0], (np.arange(16) - 8) / 0.4)
    assert np.allclose(k[0, :, 0], (7 - np.arange(16)) / 0.4)
    assert np.allclose(k[:, 0, 1], (np.arange(6) - 3) / 0.2)
    assert np.allclose(np.diff(group.start_time), 0.01)


def test_geometry_is_ras(scan):
    geometry = read(scan[0]).geometry
    assert geometry.fov == pytest.approx((0.2, 0.2, 0.005))
    assert geometry.matrix == (8, 6, 1)
    assert np.allclose(geometry.rotation, [[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    assert np.allclose(geometry.centers, [[-0.01, -0.02, 0.03]])
    assert geometry.patient_position == "HFS"


def test_the_files_own_trajectory_is_used(tmp_path):
    ismrmrd = pytest.importorskip("ismrmrd")
    path = tmp_path / "radial.h5"
    spoke = np.linspace(-8, 7, 16, dtype=np.float32)
    with ismrmrd.Dataset(str(path), mode="w") as data:
        data.write_xml_header(XML.replace("cartesian", "radial"))
        for k in range(3):
            route = np.stack([spoke * np.cos(k), spoke * np.sin(k)], 1).astype(np.float32)
            data.append_acquisition(acquisition(ismrmrd, np.ones((1, 16), np.complex64), (), route))
    raw = read(path)
    expected = np.stack([spoke * np.cos(2) / 0.4, spoke * np.sin(2) / 0.2, 0 * spoke], 1)
    assert np.allclose(raw.groups[0].trajectory.positions()[2], expected, atol=1e-5)
    assert any("unit of trajectories" in warning for warning in raw.warnings)


def test_a_seq_is_matched_and_counted(scan, scans):
    with pytest.raises(MismatchError, match="plays 96"):
        read(scan[0], scans / "pulseq_epi" / "basic_epi_pe_plus.seq")


def test_a_seq_gives_the_trajectory(tmp_path, scans):
    ismrmrd = pytest.importorskip("ismrmrd")
    folder, path = scans / "pulseq_epi", tmp_path / "epi.mrd"
    whole = read(folder / "basic_epi_pe_plus.dat", folder / "basic_epi_pe_plus.seq")
    values = whole.groups[0].samples[:]
    with ismrmrd.Dataset(str(path), mode="w") as data:
        data.write_xml_header(XML)
        for line in values:
            data.append_acquisition(acquisition(ismrmrd, line))
    raw = read(path, folder / "basic_epi_pe_plus.seq")
    assert np.array_equal(raw.groups[0].samples[:], values)
    assert np.array_equal(raw.groups[0].trajectory.positions(), whole.groups[0].trajectory.positions())
    assert raw.geometry.matrix == (96, 96, 1)


def test_without_the_package_the_extra_is_named(scan, monkeypatch):
    monkeypatch.setitem(sys.modules, "ismrmrd", None)
    with pytest.raises(MissingExtraError, match=r"pulsetwin\[mrd\]"):
        read(scan[0])


def test_damaged_files_are_typed_errors(scan, tmp_path):
    path, _ = scan
    data = path.read_bytes()
    short = tmp_path / "short.h5"
    short.write_bytes(data[: len(data) // 2])
    with pytest.raises(FileError):
        read(short)
    nan = tmp_path / "nan.h5"
    nan.write_bytes(data)
    import h5py

    with h5py.File(nan, "r+") as file:
        row = file["dataset/data"][3]
        row["data"][4] = np.nan
        file["dataset/data"][3] = row
    with pytest.raises(MrdError, match="acquisition 4"):
        read(nan).groups[0].samples[:]
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["something"] = 1
    with pytest.raises(MrdError, match="no MRD dataset"):
        read(other)
