"""Inversion recovery: the signal of each image after its own history, times as they are asked for, what is refused."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from pulsetwin.cli import main
from pulsetwin.errors import ProtocolError
from pulsetwin.export.siemens import write_seq
from pulsetwin.export.twix import write as write_twix
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.inversion_recovery import Protocol, build
from pulsetwin.sequences.protocol import definitions, protocol_from
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_rectangle import random_rectangle
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import single_voxel
from pulsetwin.sim.signal_models.inversion_recovery import signals
from tests.conftest import ROOT
from tests.sequences.small import SCANNERS

TIMES, WAITS = (0.05, 1.2, 0.3, 0.05), (0.1, 0.4, 0.03)
PRISMA = Scanner.preset("siemens-prisma")


@pytest.mark.parametrize("name", SCANNERS)
def test_playable(name, tmp_path):
    scanner = Scanner.preset(name)
    edge = 0.2 if name.startswith("siemens") else 0.03
    protocol = Protocol(matrix=(16, 16, 1), fov=(edge, edge, edge / 8), inversion_times=TIMES, recovery_times=WAITS)
    stated = definitions(protocol, "inversion_recovery", "0")
    assert write_seq(build(protocol, scanner), tmp_path / "ir.seq", scanner=scanner, definitions=stated).playable


def test_signals_are_those_of_the_closed_form(tmp_path):
    protocol = Protocol(
        readout="fid", matrix=(1, 1, 1), fov=(4e-3,) * 3, oversampling=4, rf_duration=5e-4, flip_angle=0.3,
        inversion_times=TIMES, recovery_times=WAITS,
    )  # fmt: skip
    sequence = build(protocol, PRISMA)
    sequence.write(str(tmp_path / "ir.seq"))
    seq = read_seq(tmp_path / "ir.seq")
    assert seq.definitions["TI"] == pytest.approx(TIMES, abs=1e-5)
    raw = acquire(seq, single_voxel(Tissue(1.0, 0.9, 0.03), (4e-3,) * 3), PRISMA)
    signal = raw.groups[0].samples[:, 0, 0]
    rest = (sequence.duration()[0] - sum(TIMES) - sum(WAITS)) / len(TIMES)  # excitation and sampling
    times, waits = (torch.tensor(x, dtype=torch.float64) for x in (TIMES, WAITS))
    t1 = torch.tensor([0.9], dtype=torch.float64)
    wanted = signals(t1, times, waits, flip_angle=0.3, tr=rest, pulses=1)[0].numpy()
    found = np.real(signal * np.exp(-1j * np.angle(signal[1]))) * np.sign(wanted[1])
    assert found == pytest.approx(wanted, abs=0.02 * math.sin(0.3))


def test_one_recovery_serves_all_images():
    one, each = (build(Protocol(matrix=(16, 16, 1), inversion_times=TIMES, recovery_times=waits), PRISMA).duration()[0]
                 for waits in ((0.2,), (0.2, 0.2, 0.2)))  # fmt: skip
    assert one == pytest.approx(each)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"recovery_times": (1.0, 2.0)}, "2 between 4 images"),
        ({"shots": 2}, "shots = 2"),
        ({"inversion_times": (1e-3,)}, "inversion_times = 1 ms is too short"),
        ({"recovery_times": (2e-3,)}, "recovery_times = 2 ms is too short"),
    ],
)
def test_what_cannot_be_is_refused(settings, told):
    with pytest.raises(ProtocolError, match=told):
        build(Protocol(**({"matrix": (16, 16, 1), "inversion_times": TIMES} | settings)), PRISMA)


@pytest.mark.slow
def test_the_protocol_of_a_head_maps_t1_of_what_it_scans(tmp_path):
    values = tomllib.loads((ROOT / "examples/protocols/inversion_recovery_head.toml").read_text("utf-8"))
    whole = protocol_from(Protocol, values["inversion_recovery"], "head")
    assert build(whole, PRISMA).duration()[0] < 61
    few = replace(whole, matrix=(16, 16, 1))
    seq, scan = tmp_path / "ir.seq", tmp_path / "scan.dat"
    stated = definitions(few, "inversion_recovery", "0")
    assert write_seq(build(few, PRISMA), seq, scanner=PRISMA, definitions=stated).playable
    phantom = random_rectangle((1, 16, 16), few.fov, edge=12, seed=1)
    write_twix(acquire(seq, phantom, PRISMA), scan)
    assert main(["recon", str(scan), "--seq", str(seq), "-o", str(tmp_path / "out")]) == 0
    images = str(tmp_path / "out/images.nii.gz")
    assert main(["map", "t1", images, "--seq", str(seq), "-o", str(tmp_path / "t1")]) == 0
    t1 = nibabel.load(tmp_path / "t1/maps/T1.nii.gz").get_fdata()[..., 0].T
    t1 = np.roll(t1[::-1], 1, 0)  # rows of the file run to posterior
    true = phantom.t1[0].numpy()
    inside = np.zeros_like(true, dtype=bool)
    inside[4:12, 4:12] = true[4:12, 4:12] < 1.6  # whose recovery is five of them
    assert inside.sum() > 20
    assert np.median(np.abs(t1[inside] / true[inside] - 1)) < 0.03
