"""The five volumes of a QALAS from raw data whose every echo has its own signal: tissues, coils, missing lines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.rawdata import Geometry, RawData
from pulsetwin.recon.qalas.echo_basis import echo_basis, echo_signals
from pulsetwin.recon.qalas.fit import fit
from pulsetwin.recon.qalas.volume import reconstruct_qalas
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.qalas import Protocol, build
from pulsetwin.sequences.readouts import played_readouts
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming
from tests.synthetic import coil_maps, ellipses, nrmse, signal

FOV, SHAPE, COILS = (0.24, 0.24, 0.16), (20, 24, 24), 6
TISSUES = torch.tensor([[0.83, 0.11], [1.33, 0.08], [2.5, 0.3]], dtype=torch.float64)


def regions():
    """Which voxels are of which tissue, bool ``[tissue, z, y, x]``."""
    inside = np.abs(ellipses(SHAPE)) > 0
    _z, y, x = np.meshgrid(*[(np.arange(n) - n // 2) / n for n in SHAPE], indexing="ij")
    deep, left = inside & (y**2 + x**2 < 0.02), x < 0
    return np.stack([inside & ~deep & left, inside & ~deep & ~left, deep])


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Raw data, timing, and the first echoes of each contrast, ``[5, z, y, x]``."""
    path = tmp_path_factory.mktemp("qalas") / "a.seq"
    protocol = Protocol(
        fov=FOV, matrix=SHAPE[::-1], train=24, acceleration=1.7, calibration=14, dummies=0, te=None, echo_spacing=None,
        oversampling=1, bandwidth=800.0,
    )  # fmt: skip
    build(protocol, Scanner.preset("siemens-prisma")).write(str(path))
    seq = read_seq(path)
    played, timing = played_readouts(seq), QalasTiming.from_definitions(seq.definitions)
    one = torch.ones(len(TISSUES), dtype=torch.float64)
    series = echo_signals(timing, *TISSUES.T, 0.9 * one, one).numpy()
    events = np.arange(len(played))
    empty = played.readouts(events, np.zeros((len(events), COILS, int(played.num_samples[0])), np.complex64))
    number = events % (5 * timing.train_length)
    contrast, echo = number // timing.train_length, number % timing.train_length
    _cells, first, which = np.unique(empty.trajectory.offset.round(3), axis=0, return_index=True, return_inverse=True)
    positions = empty.trajectory[first].positions()
    samples = np.zeros(empty.samples.shape, complex)
    for region, own in zip(regions(), series, strict=True):
        lines = signal(region.astype(complex), coil_maps(COILS, SHAPE), positions, FOV)
        samples += lines[which.ravel()] * own[contrast, echo][:, None, None]
    rng = np.random.default_rng(1)
    level = 2e-5 * np.abs(samples).max()
    noise = level * rng.standard_normal((COILS, 4000, 2)).view(complex)[..., 0]
    samples += level * rng.standard_normal((*samples.shape, 2)).view(complex)[..., 0]
    group = replace(empty, samples=samples.astype(np.complex64))
    raw = RawData((group,), noise, float(group.dwell[0]), Geometry(FOV, SHAPE[::-1]), seq.definitions, {}, ())
    return raw, timing, np.einsum("tzyx,tc->czyx", regions(), series[:, :, 0])


def test_echoes_of_a_train_by_repetition(scan):
    """The first echoes are the closed form's, and each echo follows from the one before by the equations of Bloch."""
    timing = scan[1]
    ie, b1 = torch.tensor([0.9, 0.8, 1.0], dtype=torch.float64), torch.tensor([0.8, 1.0, 1.2], dtype=torch.float64)
    series = echo_signals(timing, *TISSUES.T, ie, b1)
    torch.testing.assert_close(series[..., 0], signals(timing, *TISSUES.T, ie=ie, b1=b1))
    angle = timing.flip_angles[0] * b1
    m = series[:, 2, 0] / torch.sin(angle)
    for echo in range(1, timing.train_length):
        m = 1 + (m * torch.cos(angle) - 1) * torch.exp(-timing.echo_spacing / TISSUES[:, 0])
        torch.testing.assert_close(series[:, 2, echo], m * torch.sin(angle))


def test_components_hold_what_they_say(scan):
    timing = scan[1]
    basis, strength, left = echo_basis(timing, 6)
    rng = np.random.default_rng(4)
    t1, t2 = (torch.from_numpy(np.exp(rng.uniform(*np.log(span), 200))) for span in ((0.4, 4.5), (0.02, 0.3)))
    table = echo_signals(timing, t1, t2, torch.full_like(t1, 0.87), torch.full_like(t1, 1.07)).flatten(1)
    flat = basis.double().flatten(0, 1)
    solved = torch.linalg.lstsq(flat, table.T).solution
    missed = torch.linalg.vector_norm(table.T - flat @ solved, dim=0) / torch.linalg.vector_norm(table, dim=1)
    assert 0 < left < 0.02
    assert float(missed.max()) < 1.2 * left
    assert echo_basis(timing, 4)[2] > left
    assert strength[0] == 1
    assert (strength.diff() < 0).all()


def test_volumes_are_the_first_echoes(scan):
    raw, timing, truth = scan
    images = reconstruct_qalas(raw)
    assert images.values.shape == (5, *SHAPE)
    assert [contrast["ECO"] for contrast in images.contrasts] == list(range(5))
    rss = np.sqrt((np.abs(coil_maps(COILS, SHAPE)) ** 2).sum(0))
    assert (
        nrmse(images.values, truth * rss * np.exp(1j * np.angle(images.values[4]))) < 0.3
    )  # corners of k-space are missing
    cores = regions()
    data = (images.values * np.exp(-1j * np.angle(images.values[4]))).real
    for tissue, region in zip(TISSUES, cores, strict=True):
        found = fit(data[:, region].T.astype(np.float64), timing, np.ones(region.sum()))
        assert np.median(found.t1) == pytest.approx(float(tissue[0]), rel=0.04)
        assert np.median(found.t2) == pytest.approx(float(tissue[1]), rel=0.06)


def test_few_coils_are_told(scan):
    images = reconstruct_qalas(scan[0], coils=5)
    assert images.quality["coils"] == 5
    assert any("compressed" in warning for warning in images.warnings)


def test_incomplete_or_other_scans_are_refused(scan):
    raw = scan[0]
    group = raw.groups[0]
    with pytest.raises(MismatchError, match="not complete"):
        reconstruct_qalas(replace(raw, groups=(group.select(np.arange(len(group) - 3)),)))
    with pytest.raises(MismatchError, match="ECO 0 to 4"):
        reconstruct_qalas(replace(raw, groups=(group.select(group.label("ECO") < 4),)))
    with pytest.raises(ProtocolError, match="no QALAS"):
        reconstruct_qalas(replace(raw, definitions={}))
