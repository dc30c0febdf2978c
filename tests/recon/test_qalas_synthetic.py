"""Synthetic contrasts against Bloch vectors that are played through the same sequence, repetition by repetition."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.qalas.regions import regions
from pulsetwin.recon.qalas.synthetic import CSF_T1, WM_T1, Mprage, SpinEcho, double_inversion, presets, synthetic
from pulsetwin.volume import Maps, Volume

TISSUES = ((0.85, 0.07), (1.35, 0.085), (4.0, 1.8), (0.3, 0.04))
SPINS = np.exp(2j * np.pi * np.arange(16) / 16)  # by what a crusher on each side of the refocusing turns them


def relaxed(spins: np.ndarray, time: float, t1: float, t2: float) -> np.ndarray:
    """Return isochromats ``[x + iy and z, spin]`` after a time."""
    return np.stack((spins[0] * np.exp(-time / t2), 1 + (spins[1] - 1) * np.exp(-time / t1)))


def turned(spins: np.ndarray, angle: float, about_y: bool = False) -> np.ndarray:
    """Return isochromats after a pulse about x or y."""
    frame = 1j if about_y else 1.0
    across, along = spins[0] / frame, spins[1].real
    side = across.imag * np.cos(angle) - along * np.sin(angle)
    return np.stack((frame * (across.real + 1j * side), across.imag * np.sin(angle) + along * np.cos(angle)))


def spoiled(spins: np.ndarray) -> np.ndarray:
    return np.stack((0 * spins[0], spins[1]))


def played_spin_echo(echo: SpinEcho, t1: float, t2: float) -> complex:
    spins = np.stack((np.zeros(16, complex), np.ones(16, complex)))
    events = [*echo.inversions[::-1], 0.0]
    for _ in range(60):
        for now, following in pairwise(events):
            spins = relaxed(spoiled(turned(spins, np.pi)), now - following, t1, t2)
        spins = turned(spins, np.pi / 2)
        spins = relaxed(spins, echo.te / 2, t1, t2) * np.stack((SPINS, np.ones(16)))
        spins = turned(spins, np.pi, about_y=True)
        spins = relaxed(spins, echo.te / 2, t1, t2) * np.stack((SPINS, np.ones(16)))
        signal = spins[0].mean()
        spins = spoiled(relaxed(spins, echo.tr - events[0] - echo.te, t1, t2))
    return complex(signal / -1j)


def played_mprage(scan: Mprage, t1: float) -> float:
    z, middle = 1.0, scan.train_length // 2
    first = scan.ti - middle * scan.echo_spacing
    rest = scan.tr - first - scan.train_length * scan.echo_spacing
    for _ in range(60):
        z = 1 - (1 + z) * np.exp(-first / t1)
        for number in range(scan.train_length):
            if number == middle:
                signal = z * np.sin(scan.flip_angle)
            z = 1 + (z * np.cos(scan.flip_angle) - 1) * np.exp(-scan.echo_spacing / t1)
        z = 1 + (z - 1) * np.exp(-rest / t1)
    return abs(signal)


@pytest.mark.parametrize("name", sorted(presets()))
def test_presets_are_what_the_sequence_shows(name):
    scan = presets()[name]
    for t1, t2 in TISSUES:
        found = float(scan.signal(*(torch.tensor(value, dtype=torch.float64) for value in (t1, t2))))
        if isinstance(scan, Mprage):
            assert abs(found - played_mprage(scan, t1)) < 1e-12
            continue
        played = played_spin_echo(scan, t1, t2)
        assert abs(played.imag) < 1e-12
        assert abs(found - (played.real if scan.signed else abs(played))) < 1e-12


def test_double_inversion_nulls_both_and_psir_has_signs():
    for tr, te in ((15.0, 0.1), (9.0, 0.02)):
        scan = double_inversion(tr, te)
        for t1 in (CSF_T1, WM_T1):
            assert abs(played_spin_echo(scan, t1, 1.0)) < 1e-6
        assert abs(played_spin_echo(scan, 1.4, 1.0)) > 0.1
    short, long = (presets()["PSIR"].signal(torch.tensor(t1), torch.tensor(1.0)) for t1 in (0.3, 4.0))
    assert short > 0 > long


def test_images_are_of_the_maps_and_empty_elsewhere():
    valid = np.zeros((1, 2, 2), bool)
    valid[0, 0] = True
    volumes = {name: Volume(np.full((1, 2, 2), value, np.float32), "", np.eye(4), valid)
               for name, value in (("T1", 0.85), ("T2", 0.07), ("PD", 30.0))}  # fmt: skip
    made = synthetic(Maps(volumes), SpinEcho(4.5, 0.1))
    assert abs(made.values[0, 0, 0] / (30 * played_spin_echo(SpinEcho(4.5, 0.1), 0.85, 0.07).real) - 1) < 1e-5
    assert not made.values[0, 1].any()
    assert np.array_equal(made.valid, valid)


def test_times_that_do_not_fit_are_refused():
    with pytest.raises(ProtocolError, match="do not fit"):
        SpinEcho(0.5, 0.1, (0.6,))
    with pytest.raises(ProtocolError, match="does not fit"):
        dataclasses.replace(presets()["MPRAGE"], ti=0.5)


def test_regions_are_ranges_of_t1_or_labels():
    t1 = np.array([0.7, 0.9, 1.0, 1.3, 5.0, 0.8]).reshape(1, 1, 6)
    valid = np.array([1, 1, 1, 1, 1, 0], bool).reshape(1, 1, 6)
    maps = Maps({name: Volume(k * t1, "s", np.eye(4), valid) for name, k in (("T1", 1.0), ("T2", 0.1))})
    white, grey, fluid = regions(maps, ("T1", "T2"))
    assert (white.voxels, grey.voxels, fluid.voxels) == (3, 1, 1)
    assert np.allclose(white.values["T2"], (0.09, 0.08, 0.095))
    (seven,) = regions(maps, ("T1",), np.array([0, 7, 7, 0, 0, 9]).reshape(1, 1, 6))
    assert (seven.name, seven.voxels, seven.values["T1"][0]) == ("label 7", 2, 0.95)
