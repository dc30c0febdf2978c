"""Repaired images: equal whatever scale and phase, and only for scans of the sequence that the network learnt with."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.cli import main
from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.operators.nufft import Nufft
from pulsetwin.optimize.schemes import gradient_echoes
from pulsetwin.rawdata import Geometry, RawData, Readouts, Trajectory
from pulsetwin.recon.image_network import load_image_network, save_image_network
from pulsetwin.recon.image_repair import (
    learnt_with,
    new_repair_network,
    purpose_of,
    reconstruct_repaired,
    repair_settings,
    repaired,
)

FOV = (0.2, 0.2, 5e-3)


def drawn(*shape, seed=0, dtype=torch.complex128):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def lines(count=6, samples=8):
    """Return k of lines of a Cartesian scan [1/m], ``[readout, sample, 3]``."""
    k = torch.zeros(count, samples, 3, dtype=torch.float64)
    k[..., 0] = torch.arange(samples) - samples // 2
    k[..., 1] = (torch.arange(count) - count // 2)[:, None]
    return k / 0.2


def played(count=6, degrees=5.0, rf_spoiling=84.0):
    """Return a sequence of as many pulses and readouts."""
    return gradient_echoes(
        matrix=8, flip_angle=math.radians(degrees), rf_spoiling=math.radians(rf_spoiling), readouts=count
    ).timeline()


def active(seed=0, k=None, **about):
    """Return a network that changes images, for a scan of `lines`, and its purpose."""
    network = new_repair_network(width=4, layers=2, seed=seed)
    weights = {name: value + 0.1 * drawn(*value.shape, dtype=torch.float32) for name, value in network.weights.items()}
    other = network.with_weights(weights)
    other.purpose.update(purpose_of(lines() if k is None else k, played(), FOV, (8, 8), "adjoint", 1) | about)
    return other


def scan(image, k, coils=None):
    """Return raw data of an image ``[y, x]`` by a direct sum, as many coils as there are sensitivities."""
    place = (torch.arange(8, dtype=torch.float64) - 4) / 8 * 0.2
    y, x = torch.meshgrid(place, place, indexing="ij")
    waves = torch.exp(-2j * torch.pi * (k[..., 0, None, None] * x + k[..., 1, None, None] * y))
    maps = torch.ones(1, 8, 8) if coils is None else coils
    samples = torch.stack([(waves * (one * image)).sum((-2, -1)) for one in maps], 1)
    count = len(k)
    readouts = Readouts(
        samples.to(torch.complex64).numpy(), Trajectory.from_positions(k.numpy()), np.arange(count) * 0.01,
        np.full(count, 1e-5),
    )  # fmt: skip
    geometry = Geometry(fov=FOV, matrix=(0, 0, 1), rotation=np.eye(3), centers=np.zeros((1, 3)))
    return RawData((readouts,), None, 0.0, geometry)


def test_an_untrained_network_leaves_images_as_they_are():
    image = drawn(5, 7)
    assert torch.equal(repaired(new_repair_network(), image), image)


def test_scale_and_common_phase_of_the_image_are_those_of_the_result():
    network, image = active(), drawn(9, 8)
    with torch.no_grad():
        one, other = repaired(network, image), repaired(network, 3e6j * image)
    assert float((one - image).norm() / image.norm()) > 0.05
    assert torch.allclose(other, 3e6j * one, rtol=1e-5)


def test_gradients_are_those_of_differences():
    network, image = active(), drawn(6, 6)
    inputs = {"image": image} | {name: value.double() for name, value in network.weights.items()}
    ways = {name: drawn(*value.shape, seed=3, dtype=value.dtype) for name, value in inputs.items()}

    def energy(moved):
        weights = {name: value for name, value in moved.items() if name != "image"}
        return (repaired(network, moved["image"], weights) - drawn(6, 6, seed=7)).abs().square().sum()

    leaves = {name: value.requires_grad_() for name, value in inputs.items()}
    energy(leaves).backward()
    with torch.no_grad():
        for name, way in ways.items():
            high, low = (energy(leaves | {name: leaves[name] + step * way}) for step in (1e-6, -1e-6))
            slope = float((leaves[name].grad.conj() * way).real.sum())
            assert slope == pytest.approx(float(high - low) / 2e-6, rel=1e-5), name


def test_an_image_of_nothing_stays_nothing():
    image = torch.zeros(4, 4, dtype=torch.complex128, requires_grad=True)
    found = repaired(active(), image)
    found.abs().square().sum().backward()
    assert float(found.detach().abs().max()) < 1e-150
    assert bool(image.grad.isfinite().all())


@pytest.mark.parametrize("coils", [1, 3])
def test_scans_are_repaired_slice_by_slice_as_their_images_are(coils, tmp_path):
    save_image_network(tmp_path / "n.safetensors", active())
    network = load_image_network(tmp_path / "n.safetensors")
    image, k = drawn(8, 8) + 2, lines()
    share = torch.linspace(0.3, 1.0, coils, dtype=torch.float64)
    maps = (share / share.norm())[:, None, None].expand(coils, 8, 8)  # alike everywhere: they add up to the image
    found = reconstruct_repaired(scan(image, k, maps), played(), network).values[0, 0]
    kept = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(image)))
    kept[[0, 7]] = 0
    low = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(kept)))
    with torch.no_grad():
        wanted = repaired(network, low).numpy()
    phase = np.vdot(found, wanted)  # that of the strongest virtual coil is free
    np.testing.assert_allclose(found * phase / abs(phase), wanted, atol=1e-4 * np.abs(wanted).max())


def spokes(step, count=6, samples=8):
    """Return k of spokes through the centre, turned by `step` [rad] each [1/m]."""
    angle = step * torch.arange(count, dtype=torch.float64)[:, None]
    along = torch.arange(samples) - samples // 2
    return torch.stack((along * angle.cos(), along * angle.sin(), torch.zeros(count, samples)), -1) / 0.2


def test_coils_and_slices_share_a_kernel(monkeypatch):
    made, toeplitz = [], Nufft.toeplitz
    monkeypatch.setattr(Nufft, "toeplitz", lambda *args, **named: made.append(1) or toeplitz(*args, **named))
    network, image = active(method="gradient", iterations=3), drawn(8, 8)
    one = scan(image, lines(), torch.ones(2, 8, 8))
    both = scan(image, torch.cat((lines(), lines())), torch.ones(2, 8, 8))
    group = replace(both.groups[0], labels={"SLC": np.repeat([0, 1], 6)})
    centres = replace(both.geometry, centers=np.array([[0, 0, 0], [0, 0, 5e-3]]))
    found = reconstruct_repaired(replace(both, groups=(group,), geometry=centres), played(), network).values[0]
    assert len(made) == 1
    wanted = reconstruct_repaired(one, played(), network).values[0, 0]
    np.testing.assert_allclose(found, [wanted, wanted], atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("k", "learnt", "told"),
    [
        (lines(7), lines(), "learnt with 6 readouts of 8 samples, but there are 7 of 8"),
        (lines() + 1.0, lines(), "0.2 cells of k-space"),
        (lines() * torch.tensor([-1.0, 1, 1]), lines(), "8 cells of k-space"),
        (lines().flip(0), lines(), "5 cells of k-space"),
        (spokes(math.radians(111.246)), spokes(math.pi / 6), "cells of k-space"),
    ],
)
def test_scans_of_other_samples_are_refused(k, learnt, told):
    network = active(k=learnt)
    with pytest.raises(MismatchError, match=told):
        reconstruct_repaired(scan(drawn(8, 8), k), played(), network)
    assert reconstruct_repaired(scan(drawn(8, 8), learnt), played(), network).values.shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (played(degrees=40.0), "other flip angles or phases of pulses"),
        (played(rf_spoiling=117.0), "other flip angles or phases of pulses"),
        (replace(played(), sample_phase=torch.zeros(48, dtype=torch.float64)), "other .* phases of readouts"),
        (played(5), "learnt with 6 pulses, but the .seq has 5"),
    ],
)
def test_scans_of_other_pulses_are_refused(other, told):
    with pytest.raises(MismatchError, match=told):
        reconstruct_repaired(scan(drawn(8, 8), lines()), other, active())


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"what": "T1"}, "is for T1, not repair of images"),
        ({"matrix": [8, 8, 8]}, "does not tell"),
        ({"matrix": [0, 8]}, "does not tell"),
        ({"fov": None}, "does not tell"),
        ({"fov": [0.2, 0.2, math.nan]}, "does not tell"),
        ({"kspace": [[1.0, 2.0]]}, "does not tell"),
        ({"pulses": [[math.nan, 0.0]]}, "does not tell"),
        ({"pulses": [1.0]}, "does not tell"),
        ({"method": "steepest"}, "does not tell"),
        ({"iterations": "many"}, "does not tell"),
    ],
)
def test_networks_for_something_else_or_for_who_knows_what_are_refused(about, told):
    with pytest.raises(MismatchError, match=told):
        learnt_with(active(**about))


def test_networks_that_tell_too_little_are_refused():
    whole = active()
    learnt_with(whole)
    for name in set(whole.purpose) - {"what"}:
        some = {key: value for key, value in whole.purpose.items() if key != name}
        with pytest.raises(MismatchError, match="does not tell"):
            learnt_with(replace(whole, purpose=some))


def test_what_a_network_did_is_told():
    network = active()
    assert repair_settings(network) == {"method": "adjoint", "image_network": network.digest}
    steps = active(method="cg", iterations=7)
    assert repair_settings(steps) == {"method": "cg", "iterations": 7, "image_network": steps.digest}
    raw = scan(drawn(8, 8), lines())
    found = reconstruct_repaired(raw, played(), network)
    idle = network.with_weights({name: torch.zeros_like(value) for name, value in network.weights.items()})
    plain = reconstruct_repaired(raw, played(), idle)
    change = np.linalg.norm(found.values - plain.values) / np.linalg.norm(plain.values)
    assert f"a network (SHA-256 {network.digest}) repaired the images" in found.warnings[0]
    assert f"changed them by {100 * change:.2g} %" in found.warnings[0]
    assert "changed them by 0 %" in plain.warnings[0]
    assert found.quality["coils"] == 1


def test_a_network_that_cannot_serve_is_told_before_the_scan_is_read(tmp_path, capsys):
    for name in ("scan.dat", "a.seq"):
        (tmp_path / name).write_bytes(b"")
    save_image_network(tmp_path / "n.safetensors", active(matrix=[8, 8, 8]))
    named = [str(tmp_path / "scan.dat"), "--seq", str(tmp_path / "a.seq"), "-o", str(tmp_path / "out")]
    assert main(["recon", *named, "--image-network", str(tmp_path / "n.safetensors")]) == 2
    assert "the network does not tell" in capsys.readouterr().err


def test_scans_of_another_field_of_view_are_refused():
    raw = scan(drawn(8, 8), lines())
    for axis in range(3):
        fov = tuple(length * (1.1 if place == axis else 1.0) for place, length in enumerate(FOV))
        with pytest.raises(MismatchError, match="field of view of 200 x 200 x 5 mm"):
            reconstruct_repaired(replace(raw, geometry=replace(raw.geometry, fov=fov)), played(), active())


def test_samples_that_are_no_numbers_are_refused():
    raw = scan(drawn(8, 8), lines(), torch.ones(3, 8, 8))
    raw.groups[0].samples[2, 1, 3] = np.nan
    with pytest.raises(ProtocolError, match="not finite"):
        reconstruct_repaired(raw, played(), active())
