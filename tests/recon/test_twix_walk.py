from __future__ import annotations

import numpy as np
import pytest

from pulsetwin.export.twix import write
from pulsetwin.recon import twix_walk
from pulsetwin.recon.twix_header import _assignments, read_header
from pulsetwin.recon.twix_mdh import BIT, CHANNEL_HEADER, COUNTERS, VB_MDH, VD_MDH
from pulsetwin.recon.twix_raid import read_container
from pulsetwin.recon.twix_walk import walk
from tests.twix_scans import rich_scan


@pytest.fixture(scope="module")
def mdh_def():
    return pytest.importorskip("twixtools.mdh_def")


def test_layouts_are_those_of_twixtools(mdh_def):
    pairs = ((VB_MDH, mdh_def.VB17_header), (VD_MDH, mdh_def.Scan_header), (CHANNEL_HEADER, mdh_def.Channel_header))
    for dtype, struct in pairs:
        assert dtype.itemsize == struct().__sizeof__() or dtype.itemsize == len(bytes(struct()))
        for name, _ in struct._fields_:
            if name in dtype.fields:
                assert getattr(struct, name).offset == dtype.fields[name][1]
    assert all(mdh_def.mask_dict[name] == bit for name, bit in BIT.items())


@pytest.mark.parametrize("name", ["gre", "pulseq_epi/ramp_epi_pe_none.dat", "pulseq_se/image.dat"])
def test_headers_equal_those_of_twixtools(scans, vendor_scans, name):
    twixtools = pytest.importorskip("twixtools")
    path = vendor_scans / "gre.dat" if name == "gre" else scans / name
    container = read_container(path)
    found = walk(path, container.measurements[-1], container.vb)
    expected = twixtools.read_twix(str(path), verbose=False)[-1]["mdb"]
    assert found.problem is None
    assert len(found.mdh) == len(expected)
    for field in ("TimeStamp", "ScanCounter", "EvalInfoMask", "SamplesInScan", "UsedChannels", "CenterCol"):
        assert np.array_equal(found.mdh[field], [getattr(mdb.mdh, field) for mdb in expected])
    for counter in COUNTERS:
        assert np.array_equal(found.mdh["Counter"][counter], [getattr(m.mdh.Counter, counter) for m in expected])


@pytest.mark.parametrize("block", [1, 2, 5, 4096])
def test_blocks_of_any_size_find_the_same(tmp_path, monkeypatch, block):
    path = tmp_path / "a.dat"
    write(rich_scan(), path)
    container = read_container(path)
    whole = walk(path, container.measurements[-1], False)
    monkeypatch.setattr(twix_walk, "_BLOCK", block)
    again = walk(path, container.measurements[-1], False)
    assert np.array_equal(again.offset, whole.offset)
    assert np.array_equal(again.mdh, whole.mdh)
    assert len(whole.mdh) == 51


def test_one_damaged_readout_keeps_those_before(tmp_path):
    path = tmp_path / "a.dat"
    write(rich_scan(), path)
    container = read_container(path)
    whole = walk(path, container.measurements[-1], False)
    data = bytearray(path.read_bytes())
    data[int(whole.offset[20]) + 48] ^= 1
    path.write_bytes(data)
    found = walk(path, container.measurements[-1], False)
    assert len(found.mdh) == 20
    assert found.problem.where == f"byte {whole.offset[20]} (readout 21)"


def test_header_of_the_real_scans(scans):
    path = scans / "pulseq_epi" / "basic_epi_pe_plus.dat"
    header = read_header(path, read_container(path).measurements[-1])
    assert header.signature == "a9aa8ace08b0e5262dabc234cf1a6381"
    assert header.sequence == "%CustomerSeq%\\pulseq"
    assert header.dwell == pytest.approx(4e-6)
    assert header.field_strength == pytest.approx(2.89362)
    assert header.patient_position == "HFS"
    assert header.pulseq
    assert not header.gridded
    assert header.warnings == ()


def test_unsafe_assignments_are_left_out():
    text = b"a.b = 1\nasSlice[4000000000].c = 2\n" + b"x" * 5000 + b" = 3\nd[2].e = 4\n"
    kept = _assignments(text)
    assert b"a.b = 1" in kept
    assert b"d[2].e = 4" in kept
    assert b"4000000000" not in kept
    assert b"xxx" not in kept
