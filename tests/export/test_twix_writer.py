from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from pulsetwin.errors import OutputExistsError, ProtocolError
from pulsetwin.export import twix
from pulsetwin.export.twix import write
from pulsetwin.rawdata import Geometry, RawData, Readouts
from pulsetwin.recon.read import read
from tests.twix_scans import RAS_OF_PULSEQ, noise_like, rich_scan


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    raw = rich_scan()
    path = tmp_path_factory.mktemp("twix") / "rich.dat"
    write(raw, path)
    return raw, path


@pytest.fixture(scope="module")
def peer(written):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twixtools = pytest.importorskip("twixtools")
        return twixtools.read_twix(str(written[1]), verbose=False)


def test_twixtools_reads_every_kind_of_readout_bit_identically(written, peer):
    raw, _ = written
    mdbs = peer[-1]["mdb"]
    main, navigators = raw.groups
    kinds = {"PHASCOR": [], "RTFEEDBACK": [], "image": []}
    for mdb in mdbs:
        name = next((n for n in ("PHASCOR", "RTFEEDBACK") if mdb.is_flag_set(n)), "image")
        kinds[name].append(mdb)
    assert np.array_equal([m.data for m in kinds["PHASCOR"]], main.samples[:2])
    assert np.array_equal([m.data for m in kinds["RTFEEDBACK"]], navigators.samples)
    assert np.array_equal([m.data for m in kinds["image"]], main.samples[2:])
    assert [m.is_flag_set("REFLECT") for m in kinds["image"]] == main.flags["reversed"][2:].tolist()
    for counter, label in (("Lin", "LIN"), ("Eco", "ECO"), ("Sli", "SLC")):
        assert [getattr(m.mdh.Counter, counter) for m in kinds["image"]] == main.labels[label][2:].tolist()


def test_twixtools_finds_the_noise_scan_before_the_scan(written, peer):
    raw, _ = written
    assert len(peer) == 2
    assert all(mdb.is_flag_set("NOISEADJSCAN") for mdb in peer[0]["mdb"])
    assert np.array_equal(np.concatenate([mdb.data for mdb in peer[0]["mdb"]], axis=1), raw.noise)


def test_channel_numbers_differ(written, peer):
    for mdb in peer[-1]["mdb"]:
        assert [channel.ChannelId for channel in mdb.channel_hdr] == [0, 1, 2]


def test_navigators_come_in_their_turn(peer):
    lengths = [mdb.mdh.SamplesInScan for mdb in peer[-1]["mdb"]]
    assert [k for k, n in enumerate(lengths) if n == 20] == [0, 17, 34]


@pytest.mark.parametrize("chunk", [1, 1 << 25])
def test_only_the_very_last_readout_ends_its_measurement(tmp_path, monkeypatch, chunk):
    """Also where readouts of two lengths take turns, and where the last one is a chunk of its own."""
    twixtools = pytest.importorskip("twixtools")
    monkeypatch.setattr(twix, "_CHUNK", chunk)
    write(rich_scan(), tmp_path / "a.dat")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scans = twixtools.read_twix(str(tmp_path / "a.dat"), verbose=False)
    for one in scans:
        assert [mdb.is_flag_set("LASTSCANINMEAS") for mdb in one["mdb"]] == [False] * (len(one["mdb"]) - 1) + [True]


def test_pymapvbvd_reads_it_bit_identically(written):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mapvbvd = pytest.importorskip("mapvbvd")
        raw, path = written
        scans = mapvbvd.mapVBVD(str(path), quiet=True)
        image = scans[-1].image
        image.flagRemoveOS = False
        main = raw.groups[0]
        assert np.array_equal(image.unsorted().transpose(2, 1, 0)[:, :, :64], _reflected(main)[2:])
        noise = scans[0].noise
        noise.flagRemoveOS = False
        assert np.array_equal(noise.unsorted().transpose(2, 1, 0)[0], raw.noise[:, :4096])


def _reflected(group: Readouts) -> np.ndarray:
    values = np.asarray(group.samples).copy()
    values[group.flags["reversed"]] = values[group.flags["reversed"]][:, :, ::-1]
    return values


def test_our_reader_returns_what_was_written(written):
    raw, path = written
    back = read(path)
    assert len(back.groups) == 2
    for group, old in zip(back.groups, raw.groups, strict=True):
        assert np.array_equal(group.samples[:], old.samples)
        for name, values in old.labels.items():
            assert np.array_equal(group.label(name), values)
        for name in ("imaging", "reversed", "navigator", "phase_correction"):
            assert np.array_equal(group.flag(name), old.flag(name))
        assert np.allclose(group.dwell, old.dwell)
    assert np.array_equal(back.noise, raw.noise)
    assert back.noise_dwell == pytest.approx(4e-6)
    assert back.geometry.fov == pytest.approx(raw.geometry.fov)
    assert back.geometry.matrix == raw.geometry.matrix
    assert np.allclose(back.geometry.rotation, raw.geometry.rotation, atol=1e-6)
    assert np.allclose(back.geometry.centers, raw.geometry.centers, atol=1e-8)
    assert back.header["field_strength"] == pytest.approx(2.89)


@pytest.mark.parametrize("sequence", ["gre", "pulseq"])
@pytest.mark.parametrize("seed", range(6))
def test_any_orientation_survives(tmp_path, sequence, seed):
    """Rotations of both handedness: the twin's own axes are right-handed, a scanner's are not."""
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    rotation = rotation if seed else np.eye(3)
    centres = rng.uniform(-0.1, 0.1, (1, 3))
    group = Readouts(noise_like(rng, 4, 2, 8), None, np.arange(4.0), np.full(4, 1e-5))
    raw = RawData((group,), None, 1e-5, Geometry((0.2, 0.2, 0.1), (8, 4, 1), rotation, centres), header={})
    write(replace(raw, header={"sequence": sequence}), tmp_path / "a.dat")
    back = read(tmp_path / "a.dat").geometry
    assert np.allclose(back.rotation, rotation, atol=1e-6)
    assert np.allclose(back.centers, centres, atol=1e-7)


@pytest.mark.parametrize("name", ["pulseq_epi/ramp_epi_pe_plus", "pulseq_se/slice_profile_sinc"])
def test_a_real_scan_written_again_matches_its_sequence(tmp_path, scans, name):
    raw = read(scans / f"{name}.dat", scans / f"{name}.seq")
    write(raw, tmp_path / "again.dat")
    back = read(tmp_path / "again.dat", scans / f"{name}.seq")
    assert back.warnings == raw.warnings == ()
    assert back.header["signature"] == raw.header["signature"] != ""
    assert np.array_equal(back.groups[0].samples[:], raw.groups[0].samples[:])
    assert np.array_equal(back.groups[0].trajectory.positions(), raw.groups[0].trajectory.positions())
    assert np.allclose(back.geometry.rotation, raw.geometry.rotation, atol=1e-6)


def test_a_vendor_scan_written_again_keeps_its_trajectory(tmp_path, vendor_scans):
    raw = read(vendor_scans / "gre.dat")
    write(raw, tmp_path / "again.dat")
    back = read(tmp_path / "again.dat")
    assert np.allclose(back.groups[0].trajectory.positions(), raw.groups[0].trajectory.positions(), atol=1e-6)
    assert np.allclose(back.geometry.centers, raw.geometry.centers, atol=1e-8)


def test_the_signature_goes_where_the_interpreter_puts_it(tmp_path):
    twixtools = pytest.importorskip("twixtools")
    signature = "0123456789abcdef" * 2
    write(rich_scan(sequence="pulseq"), tmp_path / "a.dat", seq_signature=signature)
    scan = twixtools.read_twix(str(tmp_path / "a.dat"), verbose=False, parse_data=False, parse_geometry=False)[-1]
    assert scan["hdr"]["Dicom"]["tSequenceVariant"] == signature
    assert scan["hdr"]["MeasYaps"]["sKSpace"]["lBaseResolution"] == 64


def test_existing_files_stay_unless_forced(tmp_path):
    path = tmp_path / "a.dat"
    write(rich_scan(), path)
    before = path.read_bytes()
    with pytest.raises(OutputExistsError):
        write(rich_scan(1), path)
    assert path.read_bytes() == before
    write(rich_scan(1), path, force=True)
    assert path.read_bytes() != before


def test_a_failure_leaves_nothing_behind(tmp_path):
    class Broken:
        shape, dtype = (4, 2, 8), np.dtype(np.complex64)

        def __getitem__(self, readouts):
            raise RuntimeError("disk on fire")

    group = Readouts(Broken(), None, np.arange(4.0), np.full(4, 1e-5))
    raw = RawData((group,), None, 1e-5, Geometry((0.2, 0.2, 0.1), (8, 4, 1), RAS_OF_PULSEQ))
    with pytest.raises(RuntimeError):
        write(raw, tmp_path / "a.dat")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samples": np.zeros((1, 1, 70_000), np.complex64)}, "70000 samples"),
        ({"samples": np.zeros((1, 300, 4), np.complex64)}, "300 channels"),
        ({"labels": {"LIN": np.array([70_000])}}, "LIN"),
        ({"labels": {"XYZ": np.array([1])}}, "XYZ"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, words):
    group = Readouts(np.zeros((1, 2, 8), np.complex64), None, np.zeros(1), np.full(1, 1e-5))
    raw = RawData((replace(group, **change),), None, 1e-5, Geometry((0.2, 0.2, 0.1), (8, 1, 1), RAS_OF_PULSEQ))
    with pytest.raises(ProtocolError, match=words):
        write(raw, tmp_path / "a.dat")
    assert list(tmp_path.iterdir()) == []


def test_a_skewed_geometry_and_a_false_signature_are_refused(tmp_path):
    raw = rich_scan()
    skewed = replace(raw, geometry=replace(raw.geometry, rotation=np.ones((3, 3))))
    with pytest.raises(ProtocolError, match="orthonormal"):
        write(skewed, tmp_path / "a.dat")
    with pytest.raises(ProtocolError, match="MD5"):
        write(raw, tmp_path / "a.dat", seq_signature="abc")
