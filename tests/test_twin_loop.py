"""Design, simulate, write TWIX, read, reconstruct: the image that textbook formulae predict, on an absolute scale."""

from __future__ import annotations

import re
import runpy
import sys
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from examples.twin_prediction import (
    cartesian_image,
    echo_train,
    excited,
    gradient_echoes,
    radial_image,
    signal,
    spin_echoes,
    spoiled,
)
from examples.twin_sequences import FOV, THICKNESS, epi, flash, radial, rare
from pulsetwin.export.twix import write
from pulsetwin.recon.read import read
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire, phantom_for
from pulsetwin.sim.coil_array import with_coils
from tests.conftest import ROOT

MATRIX, VOXELS, COILS, FLIP = 24, 36, 4, 12
QUIET = 1e5  # signal to noise: next to none, but the scan keeps the noise scan that tells how coils are weighed
PRISMA = Scanner.preset("siemens-prisma")


def rf_spoiled(phantom, phases, repetition_time, moment):
    """Magnetisation after each pulse relative to its phase, by extended phase graphs: F+, F- and Z over k in units of
    the `moment` [1/m] of a repetition, with diffusion (Weigel 2015, doi:10.1002/jmri.24619)."""
    filled = phantom.proton_density.numpy() > 0
    t1, t2, diffusion, b1 = (
        m.numpy()[filled] for m in (phantom.t1, phantom.t2, phantom.diffusion, phantom.b1[0].abs())
    )
    angle, pulses = np.deg2rad(FLIP) * b1, len(phases)
    plus, minus, z = np.zeros((3, pulses + 1, len(t1)), complex)
    z[0] = 1
    k = 2 * np.pi * moment * np.arange(pulses + 1)[:, None]
    step, rate = 2 * np.pi * moment, -repetition_time * diffusion
    decay = np.exp(-repetition_time / t2)
    lost_plus, lost_minus = (decay * np.exp(rate * (k**2 + way * k * step + step**2 / 3)) for way in (1, -1))
    lost_z = np.exp(rate * k**2 - repetition_time / t1)
    keep, swap, sine = np.cos(angle / 2) ** 2, np.sin(angle / 2) ** 2, np.sin(angle)
    result = np.zeros((pulses, *filled.shape), complex)
    for pulse, turn in enumerate(np.exp(1j * phases)):
        plus, minus, z = (
            keep * plus + swap * turn**2 * minus - 1j * turn * sine * z,
            swap / turn**2 * plus + keep * minus + 1j / turn * sine * z,
            np.cos(angle) * z - 0.5j * sine * (plus / turn - minus * turn),
        )
        result[pulse][filled] = plus[0] / turn
        plus, minus, z = plus * lost_plus, minus * lost_minus, z * lost_z
        z[0] += 1 - np.exp(-repetition_time / t1)
        plus, minus = np.roll(plus, 1, 0), np.roll(minus, -1, 0)
        plus[0] = minus[0].conj()
    return result


def spoiled_train(seq, phantom):
    """Return the magnetisation after each pulse of an RF-spoiled train that spoils by whole cycles."""
    excitation = seq.calculate_kspace()[2]
    lines = len(gradient_echoes(seq).k)
    number = np.arange(lines - len(excitation), lines)
    phases = -np.deg2rad(84 * number * (number + 1) / 2)
    return rf_spoiled(phantom, phases, float(np.diff(excitation).mean()), 6 / THICKNESS)


def ideal_train(seq, phantom):
    excitation = seq.calculate_kspace()[2]
    return spoiled(phantom, FLIP, float(np.diff(excitation).mean()), len(excitation))


BUILD = {"flash": flash, "rare": rare, "epi": epi, "radial": radial}


@cache
def played(name, folder, coils):
    """A sequence, its phantom, finer than the image, and the raw data after a way through TWIX."""
    seq = BUILD[name](MATRIX)
    file, scan = folder / f"{name}_{coils}.seq", folder / f"{name}_{coils}.dat"
    seq.write(str(file))
    phantom = with_coils(phantom_for(read_seq(file), "brain", VOXELS, PRISMA), coils)
    write(acquire(file, phantom, PRISMA, snr=QUIET, engine="graphs"), scan)
    return SimpleNamespace(seq=seq, file=file, phantom=phantom, raw=read(scan, file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("loop")


def predicted(name, scan, *, ideal=False):
    """Return sampling and the coils' signals ``[coil, line, sample]``."""
    if name == "rare":
        sampling = spin_echoes(scan.seq)
        return sampling, signal(scan.phantom, sampling, echo_train(scan.phantom, 90, 180, 9e-3, MATRIX))
    sampling = gradient_echoes(scan.seq)
    if name == "epi":
        return sampling, signal(scan.phantom, sampling, excited(scan.phantom, 90))
    train = ideal_train if ideal else spoiled_train
    return sampling, signal(scan.phantom, sampling, train(scan.seq, scan.phantom))


def predicted_image(name, scan):
    """Return the magnitude ``[y, x]`` in units of the noise, coils combined by the root of the sum of squares."""
    sampling, samples = predicted(name, scan)
    picture = radial_image if name == "radial" else cartesian_image
    coils = picture(samples, sampling.k, FOV, MATRIX)
    noise = np.asarray(scan.raw.noise, np.complex128).reshape(len(coils), -1)
    whiten = np.linalg.inv(np.linalg.cholesky(noise @ noise.conj().T / noise.shape[1]))
    return np.linalg.norm(np.tensordot(whiten, coils, 1), axis=0)


def relative(found, truth):
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


@pytest.mark.parametrize("name", BUILD)
def test_raw_data_are_the_predicted_signal_without_any_scale(name, folder):
    scan = played(name, folder, COILS)
    found = np.asarray(scan.raw.groups[0].samples[:]).swapaxes(0, 1)
    assert relative(found, predicted(name, scan)[1]) < 1e-3


@pytest.mark.parametrize(("name", "bound"), [("flash", 0.01), ("rare", 0.01), ("epi", 0.01), ("radial", 0.03)])
def test_image_of_an_array_is_the_predicted_one_without_any_scale(name, bound, folder):
    """Coils are combined by the root of the sum of squares here, by Walsh's maps there; spokes have other weights."""
    scan = played(name, folder, COILS)
    image = np.abs(reconstruct(scan.raw).values[0, 0])
    assert relative(image, predicted_image(name, scan)) < bound


@pytest.mark.parametrize("name", ["flash", "rare", "epi"])
def test_image_of_one_coil_is_the_predicted_one_without_any_scale(name, folder):
    scan = played(name, folder, 1)
    image = np.abs(reconstruct(scan.raw).values[0, 0])
    assert relative(image, predicted_image(name, scan)) < 1e-3


def test_front_of_the_head_is_called_anterior(folder):
    """Images have rows to the back, like the gradient y; that they agree with the prediction tests what is in them."""
    images = reconstruct(played("epi", folder, 1).raw)
    assert np.allclose(images.affine[:3, :3], 1e3 * np.diag([FOV / MATRIX, -FOV / MATRIX, THICKNESS]), atol=1e-3)


def test_ideal_spoiling_is_two_percent_off(folder):
    scan = played("flash", folder, COILS)
    exact, ideal = predicted("flash", scan)[1], predicted("flash", scan, ideal=True)[1]
    assert 2e-3 < relative(ideal, exact) < 0.02


@pytest.mark.parametrize("name", BUILD)
def test_signal_to_noise_is_what_was_asked_for_however_k_space_is_sampled(name, folder):
    """Spokes sample the bright centre most often, which makes the image no brighter."""
    scan = played(name, folder, 1)
    noisy = acquire(scan.file, scan.phantom, PRISMA, snr=20, engine="graphs")
    signals = predicted_image(name, SimpleNamespace(seq=scan.seq, phantom=scan.phantom, raw=noisy))
    filled = float((scan.phantom.proton_density > 0).double().mean())
    snr = np.sqrt(2 * np.mean(signals**2) / filled)
    assert snr == pytest.approx(20, rel=0.08)


def test_example_of_the_loop_ends_in_a_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["twin_loop.py", str(tmp_path), "32"])
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    runpy.run_path(str(ROOT / "examples" / "twin_loop.py"), run_name="__main__")
    said = capsys.readouterr().out
    errors = dict(re.findall(r"(\w+) +NRMSE to the prediction +([\d.]+)%", said))
    assert list(errors) == ["FLASH", "RARE", "EPI", "radial"]
    assert max(map(float, errors.values())) < 3  # of which noise 2
    with Image.open(tmp_path / "twin_loop.png") as picture:
        assert picture.size[0] > 1000
