"""Lines that are left out: what is played and called how, and the image of an accelerated scan beside the full one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pulsetwin.errors import ProtocolError
from pulsetwin.export.playable import check
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import flash, mprage
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire, phantom_for

PRISMA = Scanner.preset("siemens-prisma")
FLASH = flash.Protocol(matrix=(32, 32, 1), dummies=20, flip_angle=math.radians(10), tr=12e-3)
VOLUME = flash.Protocol(fov=(0.22, 0.22, 0.16), matrix=(24, 24, 16), dummies=60, flip_angle=math.radians(5))
MPRAGE = mprage.Protocol(fov=(0.22, 0.22, 0.16), matrix=(24, 24, 16), dummies=2, ti=None, tr=None)


def written(module, protocol, path):
    module.build(protocol, PRISMA).write(str(path))
    return read_seq(path)


@pytest.mark.parametrize(("module", "protocol"), [(flash, VOLUME), (mprage, MPRAGE)])
def test_what_is_played_and_how_it_is_called(module, protocol, tmp_path):
    """Of the lattice that holds the centre every line is there, and all of the block; REF and IMA tell them apart."""
    few = replace(protocol, acceleration=(2, 4), caipi_shift=2, calibration=6, partial_fourier=(0.75, 1.0))
    seq = written(module, few, tmp_path / "a.seq")
    report = check(seq, PRISMA)
    assert not [one for one in report.findings if one.rule.startswith("label") or one.severity == "error"]
    labels = played_readouts(seq).labels
    rows = np.stack([labels[name] for name in ("LIN", "PAR", "REF", "IMA")], axis=1).tolist()
    played = {(y, z): (ref, ima) for y, z, ref, ima in rows}
    wanted = {}
    for y in range(6, 24):
        for z in range(16):
            regular = (y - 12) % 2 == 0 and ((z - 8) - 2 * ((y - 12) // 2)) % 4 == 0
            block = 9 <= y < 15 and 5 <= z < 11
            if regular or block:
                wanted[y, z] = (int(block), int(block and regular))
    assert played == wanted
    assert len(labels["LIN"]) == len(wanted)
    said = [seq.definitions[name] for name in ("AccelerationFactorPE", "AccelerationFactor3D", "kSpaceCenterLine")]
    assert said == [2, 4, 12]


def test_trains_of_fewer_partitions_keep_their_times():
    few = replace(MPRAGE, acceleration=(1, 3), caipi_shift=1, calibration=8, ti=0.5, tr=1.2, dummies=0)
    seq = mprage.build(few, PRISMA)
    starts = np.cumsum([0, *seq.block_durations.values()])
    pulses = [(starts[n], seq.get_block(i).rf) for n, i in enumerate(seq.block_events)]
    inversions = [start + rf.delay + rf.center for start, rf in pulses if rf is not None and rf.use == "inversion"]
    excitations = np.array([start + rf.delay + rf.center for start, rf in pulses if rf and rf.use == "excitation"])
    assert np.allclose(np.diff(inversions), seq.definitions["TR"], atol=1e-9)
    partition = np.asarray(seq.evaluate_labels(evolution="adc")["PAR"])
    line = np.asarray(seq.evaluate_labels(evolution="adc")["LIN"])
    sizes = {np.sum(line == number) for number in range(24)}
    assert len(sizes) > 1
    for number, inversion in enumerate(inversions):
        first = excitations[(line == number) & (partition >= 8)].min()
        assert first - inversion == pytest.approx(seq.definitions["TI"], abs=1e-9)
        assert seq.definitions["TI"] == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize(
    ("module", "protocol", "few", "worst"),
    [
        (flash, FLASH, {"acceleration": (2, 1), "calibration": 16}, 0.1),
    ],
)  # fmt: skip
def test_the_image_is_that_of_the_full_scan(module, protocol, few, worst, tmp_path):
    """The twin's, with 8 coils, reconstructed without being told how."""
    images, protocol = [], replace(protocol, noise_samples=2000)  # which tell how coils are weighed
    for name, one in (("full", protocol), ("few", replace(protocol, **few))):
        seq = written(module, one, tmp_path / f"{name}.seq")
        phantom = phantom_for(seq, "brain", 32, PRISMA)
        images.append(reconstruct(acquire(tmp_path / f"{name}.seq", phantom, PRISMA, tol=2e-2, coils=8, snr=1e3)))
    assert any("SENSE" in note for note in images[1].warnings), images[1].warnings
    full, less = (np.abs(one.values[0]) for one in images)
    less *= np.vdot(less, full) / np.vdot(less, less)
    assert np.linalg.norm(less - full) / np.linalg.norm(full) < worst


def test_what_cannot_be_is_refused():
    with pytest.raises(ProtocolError, match="one partition"):
        flash.Protocol(acceleration=(2, 2))
    with pytest.raises(ProtocolError, match="CAIPI shift 2"):
        replace(VOLUME, acceleration=(2, 2), caipi_shift=2)
    with pytest.raises(ProtocolError, match="more than half"):
        replace(VOLUME, partial_fourier=(0.5, 1.0))
