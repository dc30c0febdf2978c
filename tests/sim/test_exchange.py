"""The twin with exchanging pools: against graphs, isochromats, matrix exponentials, and what may not be asked of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cest_mrf import Protocol, build
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.seqfile import RF
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.bloch_mcconnell.pool_model import GAMMA
from pulsetwin.sim.phantom import Pool
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import single_voxel, vials
from pulsetwin.sim.timeline_from_seq import as_seq_file

PRISMA = Scanner.preset("siemens-prisma")
FOV = (0.22, 0.22, 0.005)
PULSE = {"readout": "fid", "matrix": (1, 1, 1), "saturation": "cw", "saturation_time": (0.2,), "oversampling": 1}
"""A long constant pulse, spoiled, and one sample after a hard pulse."""


def samples(raw):
    """Return all samples of a scan, ``[readout, coil, sample]``, of its one group."""
    (group,) = raw.groups
    return np.asarray(group.samples[:])


def one_voxel(pools=(), b0=0.0):
    phantom = single_voxel(Tissue(1.0, 2.8, 0.5), FOV, b0=b0)
    return replace(phantom, pools=tuple(pools))


def pool(fraction, rate, shift, shape=(1, 1, 1)):
    return Pool(torch.full(shape, fraction), torch.tensor(rate), shift, torch.tensor(2.0), torch.tensor(0.05))


def test_encodes_what_graphs_do_where_nothing_is_saturated():
    """EPI of tubes with B0, B1, T2', two coils, a late receiver and late gradients."""
    protocol = Protocol(readout="epi", matrix=(16, 16, 1), b1=(0.0, 0.0), saturation_time=(0.1,), recovery=(0.5,))
    tubes = [Tissue(1.0, 2.8, 0.1 + 0.05 * number, 0.05) for number in range(6)]
    phantom, rng = vials((1, 16, 16), FOV, tissues=tubes), np.random.default_rng(0)
    b0, b1 = (torch.from_numpy(rng.uniform(*ends, (1, 16, 16))) for ends in ((-40, 40), (0.8, 1.1)))
    phantom = replace(phantom, b0=b0, b1=(b1 * np.exp(0.3j))[None])
    scan = {"coils": 2, "receiver_delay": 2e-6, "gradient_delay": (3e-6, 0.0, 0.0)}
    found, expected = (
        samples(acquire(build(protocol, PRISMA), phantom, PRISMA, engine=engine, **scan))
        for engine in ("exchange", "graphs")
    )
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize("offset", [-0.4, 0.4])
def test_saturates_as_isochromats_are(offset):
    """Close to water, of 25 Hz, on which side it lies is seen. Only what comes first has no stimulated echoes."""
    protocol = Protocol(**PULSE, b1=(0.7e-6,), offset=(offset,))
    found, expected = (
        samples(acquire(build(protocol, PRISMA), one_voxel(b0=25.0), PRISMA, engine=engine, **options))
        for engine, options in (("exchange", {}), ("isochromats", {"spins": 4096}))
    )
    assert np.abs(found - expected).max() < 3e-3


def exponential(fraction, rate, shift, offset, b1, b0, wait):
    """Return z of water after a pulse of 0.2 s, spoiling and a wait: two pools, by matrix exponentials."""
    ppm = GAMMA * b0 * 1e-6
    generator = np.zeros((7, 7))
    for p, (r1, r2, away) in enumerate([(1 / 2.8, 1 / 0.5, 0.0), (1 / 2.0, 1 / 0.05, shift)]):
        x, y, z = 3 * p, 3 * p + 1, 3 * p + 2
        detuning = ppm * (away - offset)
        generator[x, x] = generator[y, y] = -r2
        generator[z, z], generator[z, 6] = -r1, r1 * (fraction if p else 1.0)
        generator[x, y], generator[y, x] = -detuning, detuning
        generator[y, z], generator[z, y] = -GAMMA * b1, GAMMA * b1
    for axis in range(3):
        generator[axis, axis] -= fraction * rate
        generator[axis, axis + 3] += rate
        generator[axis + 3, axis + 3] -= rate
        generator[axis + 3, axis] += fraction * rate
    z = [2, 5, 6]  # which the pulse alone mixes with x and y
    after = expm(0.2 * generator) @ [0, 0, 1, 0, 0, fraction, 1]
    return (expm(wait * generator[np.ix_(z, z)]) @ after[z])[0]


@pytest.mark.parametrize("offset", [-3.0, 3.0])
def test_a_pool_is_met_on_its_side_of_water_as_much_as_matrix_exponentials_say(offset):
    protocol = Protocol(**PULSE, b1=(1.5e-6, 0.0), offset=(offset,), recovery=(30.0,), rf_duration=1e-4)
    seq = as_seq_file(build(protocol, PRISMA))
    raw = acquire(seq, one_voxel([pool(5e-3, 300.0, 3.0)]), PRISMA)
    saturated, full = np.abs(samples(raw)[:, 0, 0])
    first, second = np.nonzero(seq.events[:, RF] != NONE)[0][:2]
    begins = [seq.block_start[block] + seq.rf.delay[seq.events[block, RF]] for block in (first, second)]
    expected = exponential(5e-3, 300.0, 3.0, offset, 1.5e-6, PRISMA.field_strength, begins[1] - begins[0] - 0.2)
    assert saturated / full == pytest.approx(expected, abs=5e-5)
    assert raw.header["engine"] == "exchange"


def test_each_voxel_has_its_own_pool_and_noise_scans_stay_empty():
    protocol = Protocol(
        readout="epi", matrix=(8, 8, 1), b1=(2e-6,), saturation="cw", saturation_time=(1.0,), noise_samples=256
    )
    phantom = vials((1, 8, 8), FOV, tissues=[Tissue(1.0, 2.8, 0.5)] * 3)
    fraction = torch.linspace(0, 5e-3, 64, dtype=torch.float64).reshape(1, 8, 8)
    own = Pool(fraction, torch.tensor(300.0), 3.0, torch.tensor(2.0), torch.tensor(0.05))
    seq = build(protocol, PRISMA)

    def signal(phantom):
        return max((np.asarray(group.samples[:]) for group in acquire(seq, phantom, PRISMA).groups), key=np.size)

    filled = phantom.proton_density > 0
    whole, parts = signal(replace(phantom, pools=(own,))), 0
    for voxel in filled.nonzero().tolist():
        alone = torch.zeros_like(phantom.proton_density)
        alone[tuple(voxel)] = phantom.proton_density[tuple(voxel)]
        parts = parts + signal(replace(phantom, proton_density=alone, pools=(own,)))
    assert np.linalg.norm(whole - parts) < 1e-4 * np.linalg.norm(whole)
    noisy = acquire(seq, replace(phantom, pools=(own,)), PRISMA, coils=2, snr=50)
    assert noisy.noise is not None


def test_what_cannot_be_simulated_is_told():
    seq, phantom = build(Protocol(**PULSE, b1=(1e-6,)), PRISMA), one_voxel([pool(1e-3, 100.0, 3.0)])
    bare = build(Protocol(**PULSE, b1=(1e-6,)), PRISMA)
    bare.definitions.pop("B0")
    with pytest.raises(ProtocolError, match="field is not known"):
        acquire(bare, phantom)
    with pytest.raises(MismatchError, match="b0"):
        acquire(seq, phantom, replace(PRISMA, field_strength=2.8))
    with pytest.raises(ProtocolError, match="acts on graphs"):
        acquire(seq, phantom, PRISMA, engine="exchange", tol=1e-3)
    with pytest.raises(ProtocolError, match="parallel"):
        acquire(seq, replace(phantom, b1=phantom.b1.expand(2, -1, -1, -1)), PRISMA)
    with pytest.raises(ProtocolError, match="pools"):
        acquire(seq, phantom, PRISMA, engine="isochromats")
