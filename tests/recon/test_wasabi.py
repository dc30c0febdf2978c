"""WASABI against Bloch equations solved by matrix exponentials, its noise against the bound, and through files."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.wasabi import Pulse, fit_wasabi, fit_wasabiti, turned
from pulsetwin.recon.wasabi_maps import map_wasabi
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.seqfile import SeqFile, read_seq
from pulsetwin.sequences.wasabi import Protocol, build
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import single_voxel
from pulsetwin.volume import Images
from tests.conftest import ROOT

MHZ = 127.7292
PULSE = Pulse(42.576 * 3.7, 5e-3, np.linspace(-2, 2, 31) * MHZ)
LIBRARY = ROOT.parent / "shared/data/pulseq_cest"
PRISMA = Scanner.preset("siemens-prisma")


def bloch(b1, shift, pulse: Pulse, *, t1: float, t2: float, z: float = 1.0) -> np.ndarray:
    """Return Mz after the pulse ``[..., offset]``: Bloch's equations, one matrix exponential each."""
    away = 2 * math.pi * (np.asarray(shift)[..., None] - pulse.offsets)
    generator = np.zeros((*away.shape, 4, 4))
    generator[..., [0, 1, 2], [0, 1, 2]] = -1 / t2, -1 / t2, -1 / t1
    generator[..., 0, 1], generator[..., 1, 0], generator[..., 2, 3] = away, -away, 1 / t1
    generator[..., 1, 2] = 2 * math.pi * np.asarray(b1)[..., None] * pulse.nutation
    generator[..., 2, 1] = -generator[..., 1, 2]
    propagator = torch.linalg.matrix_exp(torch.from_numpy(generator * pulse.duration)).numpy()
    return (propagator @ [0, 0, z, 1])[..., 2]


def random_fields(count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0.5, 1.6, count), rng.uniform(-1.2, 1.2, count) * MHZ


def test_the_probability_is_that_of_blochs_equations_and_its_derivatives_those_of_differences():
    away = PULSE.offsets - 21.0
    over, by_nutation, by_offset = turned(np.array(170.0), away, PULSE.duration)
    z = bloch(170 / PULSE.nutation, 21.0, PULSE, t1=1e9, t2=1e9)
    assert np.allclose(z, 1 - 2 * over, atol=1e-7)
    tissue, turn = bloch(1.1, 21.0, PULSE, t1=0.9, t2=0.06), 2 * math.pi * 1.1 * PULSE.nutation
    for k, offset in enumerate(2 * math.pi * (21.0 - PULSE.offsets)):
        rates = [[-1 / 0.06, offset, 0, 0], [-offset, -1 / 0.06, turn, 0], [0, -turn, -1 / 0.9, 1 / 0.9], [0] * 4]
        assert tissue[k] == pytest.approx((expm(np.array(rates) * PULSE.duration) @ [0, 0, 1, 1])[2], abs=1e-12)
    step = 1e-4
    for slope, one, other in ((by_nutation, step, 0), (by_offset, 0, step)):
        ahead, behind = (turned(np.array(170 + k * one), away + k * other, PULSE.duration)[0] for k in (1, -1))
        assert np.allclose(slope, (ahead - behind) / (2 * step), atol=1e-9)


@pytest.mark.parametrize("magnitude", [True, False])
@pytest.mark.parametrize(("nominal", "duration", "reach"), [(3.7, 5e-3, 2.0), (5.0, 3e-3, 3.0), (2.0, 8e-3, 2.0)])
def test_fields_of_tissue(magnitude, nominal, duration, reach):
    """Relaxation in the pulse, and what recovers before it, go into c and d."""
    pulse = Pulse(42.576 * nominal, duration, np.linspace(-reach, reach, 31) * MHZ)
    b1, shift = random_fields(60)
    data = bloch(b1, shift, pulse, t1=1.2, t2=0.07, z=0.93)
    found = fit_wasabi(np.abs(data) if magnitude else data, pulse, signed=not magnitude).values
    apart = found[0] - b1
    turns = b1 * pulse.nutation * duration
    assert np.abs(apart[turns > 0.6]).max() < 0.03  # the published model has no T2: weak pulses look weaker
    assert np.abs(apart[turns > 0.9]).max() < 0.015
    assert apart.min() > -0.1
    assert np.abs(found[1] - shift).max() < 1.5
    assert found[2] == pytest.approx(0.93 * np.ones(60), abs=0.06)


def test_without_relaxation_the_fit_is_exact():
    b1, shift = random_fields(100, 2)
    data = bloch(b1, shift, PULSE, t1=1e9, t2=1e9, z=0.8)
    for found in (fit_wasabi(np.abs(data), PULSE), fit_wasabi(data, PULSE, signed=True)):
        assert np.allclose(found.values, np.stack((b1, shift, 0 * b1 + 0.8, 0 * b1 + 1.6)), rtol=1e-5, atol=1e-5)


def test_any_scale_gives_the_same_fields():
    data = np.stack([np.abs(bloch(0.9, 30.0, PULSE, t1=1.0, t2=0.08))] * 2)
    small, large = (fit_wasabi(scale * data, PULSE) for scale in (1e-6, 1e6))
    assert np.allclose(small.values[:2], large.values[:2], rtol=1e-9)
    assert np.allclose(1e12 * small.values[2:], large.values[2:], rtol=1e-9)


def test_noise_reaches_the_bound_and_is_told():
    """Deviation of 2000 noisy fits against that of Cramer and Rao by finite differences, and what the fit states."""
    truth, noise, step = np.array([0.93, 37.0, 0.95, 1.8]), 0.01, 1e-5

    def curve(values: np.ndarray) -> np.ndarray:
        over = turned(values[0] * PULSE.nutation, PULSE.offsets - values[1], PULSE.duration)[0]
        return np.abs(values[2] - values[3] * over)

    slopes = np.stack([(curve(truth + one) - curve(truth - one)) / (2 * step) for one in step * np.eye(4)], 1)
    bound = noise * np.sqrt(np.diag(np.linalg.inv(slopes.T @ slopes)))
    data = curve(truth) + noise * np.random.default_rng(1).standard_normal((2000, 31))
    found = fit_wasabi(np.abs(data), PULSE)
    spread = found.values.std(1)
    assert (np.abs(found.values.mean(1) - truth) < 5 * bound / math.sqrt(2000) + 0.02 * bound).all()
    assert np.allclose(spread, bound, rtol=0.06)
    assert np.allclose(np.median(found.deviation, 1), bound, rtol=0.03)


def test_the_start_is_robust():
    """Of 20,000 voxels of all fields and depths with 2 % noise, one in a thousand may be led astray."""
    rng = np.random.default_rng(3)
    b1, shift = random_fields(20000, 3)
    c = rng.uniform(0.8, 1, 20000)
    d = c * rng.uniform(1.4, 2, 20000)
    over = turned(b1[:, None] * PULSE.nutation, PULSE.offsets - shift[:, None], PULSE.duration)[0]
    data = 500 * np.abs(c[:, None] - d[:, None] * over + 0.02 * rng.standard_normal(over.shape))
    found = fit_wasabi(data, PULSE)
    astray = (np.abs(found.values[0] - b1) > 0.1) | (np.abs(found.values[1] - shift) > 13)
    assert astray.mean() < 1e-3


@pytest.mark.parametrize("recovery", [np.full(31, 2.0), np.linspace(0.3, 4, 31)], ids=["one", "many"])
def test_wasabiti_finds_t1(recovery):
    b1, shift = random_fields(200)
    t1 = np.random.default_rng(5).uniform(0.4, 2.5, 200)
    turned_over = bloch(b1, shift, PULSE, t1=1e9, t2=1e9)
    data = (1 - np.exp(-recovery / t1[:, None])) * turned_over
    for found in (fit_wasabiti(np.abs(data), PULSE, recovery), fit_wasabiti(data, PULSE, recovery, signed=True)):
        assert np.allclose(found.values, np.stack((b1, shift, t1)), rtol=1e-5, atol=1e-5)


def library() -> SeqFile:
    path = LIBRARY / "WASABI_3T_001_3p7uT_1block_5ms.seq"
    if not path.exists():
        pytest.skip("library sequences are not here")
    return read_seq(path)


def images(data: np.ndarray) -> Images:
    """Return images ``[image, 1, 1, voxel]``."""
    return Images(data.T[:, None, None, :], np.eye(4), ({},) * data.shape[1])


def test_a_library_sequence_and_its_published_signal():
    """White matter with seven pools at the nominal B1 and no shift; with M0, without, and in other units."""
    seq = library()
    z = np.loadtxt(LIBRARY / "M_z_WASABI_3T_001_3p7uT_1block_5ms.seq.txt")
    for data in (z, z[1:], 1e4 * z):
        maps = map_wasabi(images(np.stack((data, data))), seq)
        assert maps["B1"].valid.all()
        assert maps["B1"].values == pytest.approx(np.full((1, 1, 2), 0.988), abs=0.002)  # T2 of 40 ms: see above
        assert np.abs(maps["B0_ppm"].values).max() < 0.01
        assert maps["B0"].values == pytest.approx(MHZ * maps["B0_ppm"].values, rel=1e-5)
    assert any("M0" in said for said in map_wasabi(images(np.stack((z[1:], z[1:]))), seq).warnings)


def played(tmp_path: Path, **settings) -> SeqFile:
    protocol = Protocol(**({"matrix": (16, 16, 1), "recovery": 0.5, "m0_recovery": 1.0} | settings))
    build(protocol, PRISMA).write(str(tmp_path / "wasabi.seq"))
    return read_seq(tmp_path / "wasabi.seq")


@pytest.mark.parametrize("shots", [1, 2])
def test_the_pulse_of_a_designed_sequence(tmp_path, shots):
    seq = played(tmp_path, shots=shots, b1=3e-6, pulse_duration=4e-3)
    larmor = seq.definitions["FREQ"]
    pulse = Pulse(42.576 * 3.0, 4e-3, np.linspace(-2, 2, 31) * larmor)
    b1, shift = random_fields(20)
    z = np.abs(bloch(b1, shift, pulse, t1=1e9, t2=1e9))
    maps = map_wasabi(images(np.hstack((np.ones((20, 1)), z))), seq)
    assert maps["B1"].values.ravel() == pytest.approx(b1, abs=1e-4)
    assert maps["B0"].values.ravel() == pytest.approx(shift, abs=0.01)
    less = dataclasses.replace(
        seq, definitions={k: v for k, v in seq.definitions.items() if k not in ("offsets_ppm", "M0_offset")}
    )
    if shots == 1:  # each pulse prepares an image: its own frequency tells the offset
        again = map_wasabi(images(np.hstack((np.ones((20, 1)), z))), less)
        assert again["B0"].values == pytest.approx(maps["B0"].values, abs=0.01)


@pytest.mark.parametrize(("shift", "b1"), [(45.0, 0.85), (-70.0, 1.15)])
def test_signs_and_values_of_the_twin(tmp_path, shift, b1):
    seq = played(tmp_path, readout="fid", matrix=(1, 1, 1), fov=(1e-3,) * 3, oversampling=4, rf_duration=5e-4,
                 flip_angle=math.pi / 2, recovery=5.0, m0_recovery=5.0)  # fmt: skip
    phantom = single_voxel(Tissue(1.0, 0.9, 0.08), (1e-3,) * 3, b0=shift, b1=b1)
    signal = acquire(seq, phantom, PRISMA).groups[0].samples[:, 0, 0]
    maps = map_wasabi(images(signal[None]), seq)
    assert maps["B0"].values.item() == pytest.approx(shift, abs=1.0)
    assert maps["B1"].values.item() == pytest.approx(b1, abs=0.01)


def test_a_wasabiti_is_told_by_its_name(tmp_path):
    seq = played(tmp_path)
    said = {**seq.definitions, "seq_id_string": "WASABITI_3T", "Trec": tuple(np.linspace(0.2, 4, 32))}
    pulse = Pulse(42.576 * 3.7, 5e-3, np.linspace(-2, 2, 31) * said["FREQ"])
    (b1, shift), t1 = random_fields(20), np.linspace(0.5, 2.5, 20)
    z = (1 - np.exp(-np.array(said["Trec"][1:]) / t1[:, None])) * bloch(b1, shift, pulse, t1=1e9, t2=1e9)
    scan = images(700 * np.hstack((np.ones((20, 1)), np.abs(z))))
    maps = map_wasabi(scan, dataclasses.replace(seq, definitions=said))
    assert maps["T1"].valid.all()
    assert maps["T1"].values.ravel() == pytest.approx(t1, rel=1e-4)
    assert maps["B1"].values.ravel() == pytest.approx(b1, rel=1e-4)
    with pytest.raises(ProtocolError, match="Trec has 2 times for 32 offsets"):
        map_wasabi(scan, dataclasses.replace(seq, definitions={**said, "Trec": (1.0, 2.0)}))
    for bad, message in ((0.0, "Trec = 0 s"), (math.nan, "Trec as nan"), ("2 s", "Trec as '2 s': give finite numbers")):
        with pytest.raises(ProtocolError, match=message):
            map_wasabi(scan, dataclasses.replace(seq, definitions={**said, "Trec": bad}))


def test_resampled_magnitudes_are_not_taken_as_signed(tmp_path):
    seq = played(tmp_path)
    pulse = Pulse(42.576 * 3.7, 5e-3, np.linspace(-2, 2, 31) * seq.definitions["FREQ"])
    b1, shift = random_fields(20)
    z = np.abs(bloch(b1, shift, pulse, t1=1e9, t2=1e9))
    z[:, ::7] -= 0.01
    maps = map_wasabi(images(np.hstack((np.ones((20, 1)), z))), seq)
    assert (z < 0).any()
    assert maps["B1"].values.ravel() == pytest.approx(b1, abs=0.03)


def test_voxels_that_tell_nothing_are_not_valid(tmp_path):
    seq = played(tmp_path)
    rng = np.random.default_rng(0)
    pulse = Pulse(42.576 * 3.7, 5e-3, np.linspace(-2, 2, 31) * seq.definitions["FREQ"])
    z = np.abs(np.stack([bloch(1.0, 0.0, pulse, t1=1.2, t2=0.08)] * 6))
    z[1] = np.nan
    z[2] = 1e-3 * rng.random(31)
    z[3] = 1.0  # no pulse at all
    data = np.hstack((np.array([[1, 1, 1e-3, 1, 0, 1]]).T, z))
    wasabiti = dataclasses.replace(seq, definitions={**seq.definitions, "Name": "wasabiti", "Trec": 2.0})
    for one in (seq, wasabiti):
        valid = map_wasabi(images(data), one)["B1"].valid.ravel()
        assert valid.tolist() == [True, False, False, False, False, True]


def test_wrong_input_is_refused(tmp_path):
    seq = played(tmp_path)
    data = np.ones((3, 32))
    with pytest.raises(ShapeError, match=r"30 images, but the .seq measures 32, or 31 without M0"):
        map_wasabi(images(data[:, :30]), seq)
    with pytest.raises(ProtocolError, match="no voxel to map"):
        map_wasabi(images(np.nan * data), seq)
    with pytest.raises(ProtocolError, match="are no WASABI"):
        map_wasabi(images(data), dataclasses.replace(seq, rf=dataclasses.replace(seq.rf, flip=400 * seq.rf.flip)))
    named = dataclasses.replace(seq, definitions={**seq.definitions, "Name": "wasabiti"})
    with pytest.raises(ProtocolError, match="M0"):
        map_wasabi(images(data[:, 1:]), named)
    for bad in ("three", (math.nan,) * 32):
        with pytest.raises(ProtocolError, match="offsets_ppm as"):
            map_wasabi(images(data), dataclasses.replace(seq, definitions={**seq.definitions, "offsets_ppm": bad}))
    some = {k: v for k, v in seq.definitions.items() if k not in ("FREQ", "B0")}
    with pytest.raises(ProtocolError, match="neither FREQ"):
        map_wasabi(images(data), dataclasses.replace(seq, definitions=some))
