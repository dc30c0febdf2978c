"""Z-spectra: lines and asymmetry against Bloch-McConnell equations, scipy's fit and published signals."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from scipy.optimize import least_squares

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.recon.lorentzians import LINES, fit_lines, left_by, lorentzian_difference
from pulsetwin.recon.z_spectrum import asymmetry, shifted
from pulsetwin.recon.z_spectrum_maps import map_z_spectrum
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.volume import Images, Volume
from tests.conftest import ROOT

LIBRARY = ROOT.parent / "shared/data/pulseq_cest"
OFFSETS = np.concatenate((np.arange(-24, 25) / 4, [-50, -20, -10, 10, 20, 50]))
PPM = 2 * math.pi * 127.7292  # [rad/s]
RNG = np.random.default_rng(0)


def exchange(shift=0.0, fraction: float = 1e-3, rate: float = 50.0, pool: float = 3.5) -> np.ndarray:
    """Return Mz of water after 2 s at 1 uT ``[..., offset]``: Bloch-McConnell equations of two pools."""
    away = PPM * (np.asarray(shift)[..., None] - OFFSETS)
    r1, nutation, back = 1.0, 267.5153, fraction * rate
    generator = np.zeros((*away.shape, 7, 7))
    for first, detuning, r2, out in ((0, away, 12.5, back), (3, away + PPM * pool, 30.0, rate)):
        x, y, z = first, first + 1, first + 2
        generator[..., [x, y, z], [x, y, z]] = -r2 - out, -r2 - out, -r1 - out
        generator[..., x, y], generator[..., y, x] = detuning, -detuning
        generator[..., y, z], generator[..., z, y] = nutation, -nutation
    generator[..., [0, 1, 2], [3, 4, 5]], generator[..., [3, 4, 5], [0, 1, 2]] = rate, back
    generator[..., 2, 6], generator[..., 5, 6] = r1, r1 * fraction
    propagator = torch.linalg.matrix_exp(torch.from_numpy(2.0 * generator)).numpy()
    return (propagator @ [0, 0, 1, 0, 0, fraction, 1])[..., 2]


def lines(count: int) -> np.ndarray:
    """Return depths, widths and centres as brain has them, ``[15, voxel]``."""
    spans = [
        (0.7, 0.9), (1.0, 2.5), (-0.3, 0.3), (0.05, 0.2), (20, 40), (-2.8, -1.8), (0.02, 0.1), (0.6, 2.0), (3.4, 3.6),
        (0.01, 0.08), (0.8, 2.0), (1.9, 2.2), (0.03, 0.12), (2.0, 4.0), (-3.7, -3.2),
    ]  # fmt: skip
    return np.array([RNG.uniform(*span, count) for span in spans])


def sum_of_lines(parameters: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    z = np.ones_like(offsets)
    for number, (depth, width, centre) in enumerate(parameters.reshape(-1, 3)):
        z -= depth * (width / 2) ** 2 / ((width / 2) ** 2 + (offsets - centre - (parameters[2] if number else 0)) ** 2)
    return z


def test_all_lines_are_found_exactly():
    truth = lines(400)
    z = np.stack([sum_of_lines(one, OFFSETS) for one in truth.T])
    found = fit_lines(z, np.broadcast_to(OFFSETS, z.shape), tuple(LINES))
    assert np.allclose(found.values, truth, rtol=1e-5, atol=1e-6)
    assert np.allclose(left_by(found.values, np.broadcast_to(OFFSETS, z.shape)), z, atol=1e-8)


def test_noisy_fits_are_those_of_scipy():
    truth = lines(8)
    low, high = np.array([(one[1], one[2]) for line in LINES.values() for one in dataclasses.astuple(line)]).T
    start = np.array([one[0] for line in LINES.values() for one in dataclasses.astuple(line)])
    z = np.stack([sum_of_lines(one, OFFSETS) for one in truth.T]) + 0.004 * RNG.standard_normal((8, len(OFFSETS)))
    found = fit_lines(z, np.broadcast_to(OFFSETS, z.shape), tuple(LINES))
    for number, one in enumerate(z):
        other = least_squares(
            lambda v, one=one: sum_of_lines(v, OFFSETS) - one, start, bounds=(low, high), x_scale=high - low, xtol=1e-12
        )
        assert found.misfit[number] <= 2 * other.cost * (1 + 1e-6)
        assert found.values[0, number] == pytest.approx(other.x[0], abs=2e-3)


def test_deviations_are_those_of_noise():
    truth = lines(1)[:, 0]
    z = sum_of_lines(truth, OFFSETS) + 0.001 * RNG.standard_normal((600, len(OFFSETS)))
    found = fit_lines(z, np.broadcast_to(OFFSETS, z.shape), tuple(LINES))
    for one in (0, 2, 6, 12):  # depths of water, amide and NOE, and the shift
        spread = np.percentile(np.abs(found.values[one] - truth[one]), 68.3)
        assert spread == pytest.approx(np.median(found.deviation[one]), rel=0.15)


def test_a_shift_is_undone():
    """The spectrum of shifted water, moved back, against that of water in place; nothing is extrapolated."""
    shift = np.array([0.3, -0.17, 0.0])
    z = exchange(shift)
    wanted = np.array([-3.5, -2.0, 2.0, 3.5, 5.9])
    assert np.allclose(shifted(z, OFFSETS, shift, wanted)[:, :4], z[2, np.searchsorted(OFFSETS[:49], wanted[:4])],
                       atol=1e-3)  # fmt: skip
    near = np.abs(OFFSETS) <= 6
    assert np.isnan(shifted(z[:, near], OFFSETS[near], shift, wanted)[0, 4])
    order = RNG.permutation(len(OFFSETS))
    assert np.allclose(shifted(z[:, order], OFFSETS[order], shift, wanted), shifted(z, OFFSETS, shift, wanted))
    knots = np.sort(OFFSETS)
    expected = CubicSpline(knots, z[0, np.argsort(OFFSETS)])(wanted + 0.3)
    assert np.allclose(shifted(z[:1], OFFSETS, shift[:1], wanted), expected, atol=1e-12)


def test_offsets_that_are_meant_as_one_are_averaged():
    z = exchange(np.zeros(1))
    twice, more = np.append(OFFSETS, 3.5 + 1e-9), np.hstack((z, z[:, OFFSETS == 3.5] + 0.01))
    middle = np.where(OFFSETS == 3.5, z + 0.005, z)
    wanted = np.array([3.5, 3.6])
    found, expected = (shifted(*one, np.zeros(1), wanted) for one in ((more, twice), (middle, OFFSETS)))
    assert np.allclose(found, expected, atol=1e-12)
    wide = asymmetry(more, twice, np.zeros(1), (3.0, 4.0))
    assert wide == pytest.approx(asymmetry(middle, OFFSETS, np.zeros(1), (3.0, 4.0)), abs=1e-12)


def test_asymmetry_is_that_of_the_pool_whatever_the_shift():
    shift = np.array([0.0, 0.25, -0.4])
    z = exchange(shift)
    place = {offset: number for number, offset in enumerate(OFFSETS)}
    expected = z[0, place[-3.5]] - z[0, place[3.5]]
    assert expected > 0.02
    assert asymmetry(z, OFFSETS, shift, (3.5, 3.5)) == pytest.approx(np.full(3, expected), abs=6e-4)
    band = [z[0, place[-one]] - z[0, place[one]] for one in (3.0, 3.25, 3.5, 3.75, 4.0)]
    assert asymmetry(z, OFFSETS, shift, (3.0, 4.0)) == pytest.approx(np.full(3, np.mean(band)), abs=6e-4)
    assert abs(asymmetry(z, OFFSETS, 0 * shift, (3.5, 3.5))[1] - expected) > 2e-3  # what it is without correction


def test_lorentzian_difference_sees_what_water_and_mt_do_not_explain():
    truth = lines(30)
    away = np.broadcast_to(OFFSETS, (30, len(OFFSETS))) - truth[2][:, None]
    truth[2] = 0
    z = np.stack([sum_of_lines(one, offsets) for one, offsets in zip(truth.T, away, strict=True)])
    nothing = truth.copy()
    nothing[[6, 9, 12]] = 0
    z_nothing = np.stack([sum_of_lines(one, offsets) for one, offsets in zip(nothing.T, away, strict=True)])
    difference, found = lorentzian_difference(z_nothing, away)
    assert np.abs(difference).max() < 1e-6
    assert np.allclose(found, nothing[:6], rtol=1e-3, atol=1e-3)
    difference, _ = lorentzian_difference(z, away)
    peak = np.abs(away - 3.5) < 0.2
    assert np.corrcoef(difference[peak], np.repeat(truth[6], peak.sum(1)))[0, 1] > 0.7


def definitions(offsets: np.ndarray = OFFSETS) -> dict:
    return {"offsets_ppm": (-300.0, *offsets), "M0_offset": -300.0, "B0": 3.0}


@pytest.fixture
def seq(sequence_file):
    return dataclasses.replace(read_seq(sequence_file), definitions=definitions())


@pytest.fixture(scope="module")
def sequence_file(tmp_path_factory):
    """Any `.seq`: only its definitions count."""
    from pulsetwin.scanner import Scanner
    from pulsetwin.sequences.flash import Protocol, build

    path = tmp_path_factory.mktemp("z") / "any.seq"
    build(Protocol(matrix=(8, 8, 1)), Scanner.preset("siemens-prisma")).write(str(path))
    return path


def images(z: np.ndarray, m0: float = 800.0) -> Images:
    data = m0 * np.hstack((np.ones((len(z), 1)), z))
    return Images(data.T[:, None, None, :], np.eye(4), ({},) * data.shape[1])


def test_maps_with_and_without_b0(seq):
    shift = np.array([0.01, 0.25, -0.4])
    z = exchange(shift)
    b0 = Volume(shift[None, None], "ppm", np.eye(4), np.ones((1, 1, 3), bool))
    there = exchange()
    expected = (there[OFFSETS == -3.5] - there[OFFSETS == 3.5]).item()
    known = map_z_spectrum(images(z), seq, b0)
    assert known["MTRasym"].valid.all()
    assert known["MTRasym"].values.ravel() == pytest.approx(np.full(3, expected), abs=1e-3)
    assert known["shift"].values.ravel() == pytest.approx(shift, abs=0.01)
    assert known["amide"].values.ravel() == pytest.approx(np.full(3, expected), rel=0.25)
    assert known["LD_amide"].values.ravel() == pytest.approx(np.full(3, expected), rel=0.35)
    unknown = map_z_spectrum(images(z), seq, span=(3.25, 3.75))
    assert unknown["shift"].values.ravel() == pytest.approx(shift, abs=0.01)
    assert any("No B0 map" in said for said in unknown.warnings)
    few = map_z_spectrum(images(z), seq, b0, pools=("water", "amide"))
    assert set(few.volumes) == {"MTRasym", "water", "water_std", "amide", "amide_std", "shift", "shift_std", "residual",
                                "LD_amide", "LD_noe"}  # fmt: skip


def test_a_library_sequence_and_its_published_signal():
    """Seven pools of white matter; too few far offsets for a Lorentzian difference, which is said."""
    path = LIBRARY / "APTw_3T_000_2uT_1block_2s_braintumor.seq"
    if not path.exists():
        pytest.skip("library sequences are not here")
    z = np.loadtxt(LIBRARY / f"M_z_{path.name}.txt")
    stated = np.array(read_seq(path).definitions["offsets_ppm"])
    maps = map_z_spectrum(Images(z[:, None, None, None], np.eye(4), ({},) * 34), read_seq(path))
    expected = (z[stated == -3.5] - z[stated == 3.5]) / z[0]
    assert maps["MTRasym"].values.item() == pytest.approx(expected.item(), abs=2e-3)
    assert abs(maps["shift"].values.item()) < 0.05
    assert any("Lorentzian difference" in said for said in maps.warnings)


def test_voxels_without_b0_m0_or_signal_are_not_valid(seq):
    z = np.repeat(exchange()[None], 5, 0)
    scan = images(z)
    scan.values[:, 0, 0, 1] = np.nan
    scan.values[0, 0, 0, 2] = 0
    valid = np.array([True, True, True, False, True])[None, None]
    b0 = Volume(np.full((1, 1, 5), 0.02), "ppm", np.eye(4), valid)
    found = map_z_spectrum(scan, seq, b0)["MTRasym"].valid
    assert found.ravel().tolist() == [True, False, False, False, True]


def test_wrong_input_is_refused(seq):
    z = np.repeat(exchange()[None], 3, 0)
    b0 = Volume(np.full((1, 1, 3), 30.0), "ppm", np.eye(4), np.ones((1, 1, 3), bool))
    with pytest.raises(ProtocolError, match="in ppm, not in Hz"):
        map_z_spectrum(images(z), seq, b0)
    with pytest.raises(ProtocolError, match="resample it"):
        map_z_spectrum(images(z), seq, dataclasses.replace(b0, values=np.zeros((1, 2, 2))))
    with pytest.raises(ProtocolError, match="relative to M0"):
        map_z_spectrum(Images(images(z).values[1:], np.eye(4), ({},) * len(OFFSETS)), seq)
    with pytest.raises(ShapeError, match=r"50 images, but the \.seq measures 56"):
        map_z_spectrum(Images(images(z).values[:50], np.eye(4), ({},) * 50), seq)
    with pytest.raises(ProtocolError, match="offsets_ppm is not defined"):
        map_z_spectrum(images(z), dataclasses.replace(seq, definitions={}))
    with pytest.raises(ProtocolError, match="give water first"):
        map_z_spectrum(images(z), seq, pools=("amide", "fat"))
    with pytest.raises(ProtocolError, match="positive offsets"):
        map_z_spectrum(images(z), seq, span=(4.0, 3.0))
    with pytest.raises(ProtocolError, match="60 ppm: the images have offsets from -50 to 50 ppm"):
        map_z_spectrum(images(z), seq, span=(1.0, 60.0))
    half = dataclasses.replace(seq, definitions=definitions(OFFSETS[OFFSETS >= 0]))
    with pytest.raises(ProtocolError, match="offsets from 0 to 50 ppm"):
        map_z_spectrum(images(z[:, OFFSETS >= 0]), half)
    few = dataclasses.replace(seq, definitions=definitions(OFFSETS[17:32]))
    with pytest.raises(ShapeError, match="15 offsets for 5 lines: give more than 15, or fewer pools"):
        map_z_spectrum(images(z[:, 17:32]), few)
    with pytest.raises(ProtocolError, match="no voxel to map"):
        map_z_spectrum(images(np.nan * z), seq)
