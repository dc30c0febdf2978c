"""Existing sequences: the patched file plays what the twin played; less RF energy for nearly the same image."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.export.patch import patch, patched
from pulsetwin.export.rf_power import rf_power
from pulsetwin.export.siemens import write_siemens
from pulsetwin.optimize.existing import Existing, cut_energy, existing, free_pulses
from pulsetwin.scanner import Scanner
from pulsetwin.sequences import rare
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.seqfile import RF, read_seq
from pulsetwin.sim.acquire import along_gradients, phantom_for
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.timeline_from_seq import timeline_from_seq
from tests.export import siemens_cases as cases
from tests.export.test_patch import require_kept

PRISMA = Scanner.preset("siemens-prisma")
MEASURED = Path(__file__).resolve().parents[3] / "shared" / "data" / "pulseq_se" / "image.seq"
SMALL = rare.Protocol(matrix=(16, 16), train=8, tr=0.5, dummies=0)


def stored(folder: Path, sequence=None, version: str = "1.5") -> Existing:
    sequence = rare.build(SMALL, PRISMA) if sequence is None else sequence
    write_siemens(sequence, folder / "a.seq", scanner=PRISMA, version=version, definitions=cases.STATED)
    return existing(folder / "a.seq")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("sequence", [None, cases.labelled_echo()], ids=["rare", "noise scan first"])
def test_patched_file_plays_what_the_twin_played(tmp_path, sequence):
    own = stored(tmp_path, sequence)
    free = free_pulses(own, "refocusing")
    flip_angle = free.put(free.start(own.timeline.flip_angle) * (0.5 + torch.rand(len(free.pulse), generator=rng())),
                          own.timeline.flip_angle)  # fmt: skip
    phase = own.timeline.phase.clone()
    phase[free.pulse] += torch.randn(len(free.pulse), generator=rng(1))
    (tmp_path / "b.seq").write_bytes(patched(own.seq, own.changes(flip_angle=flip_angle, phase=phase)))
    back = timeline_from_seq(tmp_path / "b.seq")
    torch.testing.assert_close(back.flip_angle, flip_angle, rtol=1e-8, atol=0)
    torch.testing.assert_close(torch.exp(1j * (back.phase - phase)), torch.ones_like(phase) + 0j, rtol=0, atol=1e-8)
    assert torch.equal(back.moment, own.timeline.moment)
    assert own.played(flip_angle=flip_angle, phase=phase).flip_angle is flip_angle


def test_relative_energy_is_that_of_the_patched_file(tmp_path):
    own = stored(tmp_path)
    flip_angle = own.timeline.flip_angle * torch.linspace(0.2, 1.1, own.timeline.pulses, dtype=torch.float64)
    (tmp_path / "b.seq").write_bytes(patched(own.seq, own.changes(flip_angle=flip_angle)))
    energies = [rf_power(read_seq(tmp_path / name), PRISMA.gamma).energy for name in ("a.seq", "b.seq")]
    assert math.isclose(float(own.relative_energy(flip_angle)), energies[1] / energies[0], rel_tol=1e-7)
    assert float(own.relative_energy(own.timeline.flip_angle)) == 1


def test_who_is_free(tmp_path):
    own = stored(tmp_path)
    seq, pulses = own.seq, own.timeline.pulses
    assert len(free_pulses(own).pulse) == pulses == 2 * (1 + 8)
    excitations = free_pulses(own, "excitation")
    assert excitations.pulse.tolist() == [0, 9]
    some = free_pulses(own, "refocusing", blocks=(1, int(seq.number[len(seq) // 2])))
    assert some.pulse.tolist() == list(range(1, 9))
    tied = free_pulses(own, "refocusing", tied=True)
    assert tied.start(own.timeline.flip_angle).shape == (len(np.unique(seq.events[own.block[tied.pulse], RF])),) == (1,)
    one = tied.put(torch.tensor([2.0], dtype=torch.float64), own.timeline.flip_angle)
    assert one[tied.pulse].tolist() == [2.0] * 16
    assert torch.equal(one[excitations.pulse], own.timeline.flip_angle[excitations.pulse])
    with pytest.raises(ProtocolError, match="use 'refocussing' is unknown"):
        free_pulses(own, "refocussing")
    with pytest.raises(ProtocolError, match="no pulse of use inversion in blocks"):
        free_pulses(own, "inversion")


def test_uses_that_a_file_does_not_state_are_kept_by_bounds(tmp_path):
    own = stored(tmp_path, version="1.4.1")
    refocusing, excitation = (free_pulses(own, use) for use in ("refocusing", "excitation"))
    for free, edge in ((refocusing, refocusing.low), (excitation, excitation.high)):
        flip_angle = free.put(torch.full((len(free.pulse),), edge, dtype=torch.float64), own.timeline.flip_angle)
        (tmp_path / "b.seq").write_bytes(patched(own.seq, own.changes(flip_angle=flip_angle)))
        back = read_seq(tmp_path / "b.seq")
        plays = own.seq.events[:, RF] != NONE
        assert np.array_equal(back.rf.use[back.events[plays, RF]], own.seq.rf.use[own.seq.events[plays, RF]])
    with pytest.raises(ProtocolError, match="free them one by one"):
        free_pulses(own)


def test_gradients_reach_the_parameters(tmp_path):
    own = stored(tmp_path)
    free = free_pulses(own, "refocusing", tied=True)
    value = free.start(own.timeline.flip_angle).requires_grad_()
    own.relative_energy(free.put(value, own.timeline.flip_angle)).backward()
    refocused = own.energy[free.pulse].sum() / own.energy.sum()
    assert math.isclose(float(value.grad), 2 * float(refocused / value.detach()), rel_tol=1e-12)


def test_what_cannot_be_is_refused(tmp_path):
    own = stored(tmp_path, cases.labelled_echo())
    with pytest.raises(ProtocolError, match="0 degrees cannot be scaled"):
        own.relative_energy(torch.ones(own.timeline.pulses, dtype=torch.float64))
    with pytest.raises(ProtocolError, match="more than 0 and less than 1"):
        cut_energy(own, {"all": free_pulses(own)}, None, 1.5)


def change_of_signal(before: Path, after: Path, voxels) -> float:
    """Return the relative change, each file by a graph of its own with whatever states come first."""
    one, two = (simulate_graphs(timeline_from_seq(path), voxels, max_states=128).signal for path in (before, after))
    return float(torch.linalg.norm(two - one) / torch.linalg.norm(one))


@pytest.mark.slow
@pytest.mark.skipif(not MEASURED.exists(), reason="the measured spin echo is not there")
def test_a_third_less_energy_of_a_sequence_that_was_measured(tmp_path):
    """A spin echo of 64 shots that a 3 T scanner played, 1.4.0."""
    own = existing(MEASURED)
    free = {use: free_pulses(own, use) for use in ("excitation", "refocusing")}
    brain = along_gradients(phantom_for(own.seq, "brain", 24).voxels())
    flip_angle, history = cut_energy(own, free, brain, 0.65, steps=12)
    assert history[0]["energy"] == pytest.approx(0.64, abs=0.01)
    patch(own.seq, own.changes(flip_angle=flip_angle), tmp_path / "less.seq", scanner=PRISMA)
    back = read_seq(tmp_path / "less.seq")
    energies = [rf_power(seq, PRISMA.gamma).energy for seq in (own.seq, back)]
    assert energies[1] / energies[0] < 2 / 3
    assert change_of_signal(MEASURED, back.path, brain) < 0.03
    changed = own.seq.events[:, RF] != back.events[:, RF]
    require_kept(MEASURED.read_bytes(), back.path.read_bytes(), set(own.seq.number[changed].tolist()))
