"""Phantoms against the tables, volumes and field equations that they are made from."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import sigpy
import torch

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sim.phantom_fields import air_field, shim_residue, transmit_field
from pulsetwin.sim.phantom_grid import resample
from pulsetwin.sim.phantom_nist import nist_positions, nist_reference
from pulsetwin.sim.phantom_shapes import Ellipsoid, painted
from pulsetwin.sim.phantom_tissue import WATER, Tissue, brain_tissues, coordinates, mixed
from pulsetwin.sim.phantoms import brain, nist, phantom_by_name, random_sparse, shepp_logan, single_voxel, vials

SOURCE = Path(__file__).resolve().parents[3] / "shared" / "data" / "brain_tissue_1mm.npz"


@pytest.fixture(scope="module")
def head():
    """A whole brain of 4 mm."""
    return brain((52, 58, 50), (0.2, 0.232, 0.208), isocentre=(0, 0, 0), fields=False)


def at(phantom, x, y, z):
    """Index of the voxel at a position [m]."""
    place = (z / phantom.size[2], y / phantom.size[1], x / phantom.size[0])
    return tuple(round(p) + n // 2 for p, n in zip(place, phantom.grid, strict=True))


# Mixing


def test_mixed_decay_starts_like_the_sum_of_its_parts():
    tissues = list(brain_tissues(3.0).values())
    fractions = (0.3, 0.5, 0.2)
    sums = sum(f * torch.tensor(t.row, dtype=torch.float64) for f, t in zip(fractions, tissues, strict=True))
    zero = torch.zeros((1, 1, 1), dtype=torch.float64)
    one = mixed(sums.reshape(5, 1, 1, 1), (1e-3,) * 3, zero, zero + 1)
    density = sum(f * t.proton_density for f, t in zip(fractions, tissues, strict=True))
    assert float(one.proton_density) == pytest.approx(density)
    for name in ("t1", "t2", "t2_prime"):
        time = torch.zeros((), dtype=torch.float64, requires_grad=True)
        parts = zip(fractions, tissues, strict=True)
        signal = sum(f * t.proton_density * torch.exp(-time / getattr(t, name)) for f, t in parts)
        (slope,) = torch.autograd.grad(signal, time)
        assert float(-density / getattr(one, name)) == pytest.approx(float(slope), rel=1e-12)


def test_nearly_empty_voxels_are_emptied():
    sums = torch.tensor(Tissue(0.009, 1.0, 0.1).row, dtype=torch.float64).reshape(5, 1, 1, 1)
    zero = torch.zeros((1, 1, 1), dtype=torch.float64)
    one = mixed(sums, (1e-3,) * 3, zero, zero + 1)
    assert float(one.proton_density) == float(one.t1) == float(one.t2) == 0


@pytest.mark.parametrize("field", [1.5, 3.0, 7.0])
def test_tissues_are_physical(field):
    tissues = brain_tissues(field)
    for tissue in tissues.values():
        assert 0 < tissue.t2 < tissue.t1
        assert 0 < tissue.proton_density <= 1
    assert tissues["white"].t1 < tissues["grey"].t1 < tissues["fluid"].t1
    star = 1 / (1 / tissues["grey"].t2 + 1 / tissues["grey"].t2_prime)
    assert star == pytest.approx({1.5: 0.084, 3.0: 0.066, 7.0: 0.0332}[field], rel=0.12)  # Peters et al. 2007


def test_another_field_is_refused():
    with pytest.raises(ProtocolError, match=r"4 T.*1\.5, 3, 7"):
        brain(field_strength=4.0)
    with pytest.raises(ProtocolError, match=r"1\.5, 3"):
        nist(field_strength=7.0)
    assert torch.equal(brain((1, 8, 8), field_strength=2.89).t1, brain((1, 8, 8)).t1)


# Brain


def test_one_call_gives_a_slice():
    phantom = brain()
    assert phantom.grid == (1, 128, 128)
    assert phantom.fov == pytest.approx((0.22, 0.22, 0.005))
    assert 5000 < len(phantom.voxels()) < 9000
    for name in ("t1", "t2", "diffusion", "b0"):
        assert bool(getattr(phantom, name).isfinite().all())


def test_protons_are_those_of_the_template(head):
    """The whole brain's protons, from fractions in twentieths, against the template in 255ths."""
    if not SOURCE.exists():
        pytest.skip("the template is not at hand")
    with np.load(SOURCE) as data:
        tissues = brain_tissues(3.0)
        names = (("gm", "grey"), ("wm", "white"), ("csf", "fluid"))
        expected = sum(tissues[name].proton_density * data[key].sum(dtype=np.float64) / 255 for key, name in names)
    protons = float(head.proton_density.sum()) * math.prod(head.size) / 1e-9
    assert protons == pytest.approx(expected, rel=5e-3)


def test_every_voxel_is_the_mean_of_the_template():
    """Voxels of 4 x 3 x 2 mm against sums over the template's voxels of 1 mm."""
    phantom = brain((11, 13, 15), (0.060, 0.039, 0.022), isocentre=(0.0005, 0, 0), fields=False)
    with resources.files("pulsetwin.sim").joinpath("data/brain_tissue.npz").open("rb") as file, np.load(file) as data:
        grey, fluid, total = (data[name] / 20 for name in ("gm", "csf", "total"))
        first = data["affine"][:3, 3]
    tissues = brain_tissues(3.0)
    density = sum(
        tissues[name].proton_density * values
        for name, values in (("grey", grey), ("white", total - grey - fluid), ("fluid", fluid))
    )
    x0, y0, z0 = (-first).astype(int)  # the voxel at MNI 0; 0.5 mm is the left edge of the next one along x
    for i, j, k in [(0, 0, 0), (3, 5, -2), (-6, 2, 4), (7, -6, 5)]:
        # x: four whole voxels, from 4 i - 2 + 0.5 mm; y: three whole ones; z: one whole and two halves
        block = density[
            x0 + 4 * i - 1 : x0 + 4 * i + 3, y0 + 3 * j - 1 : y0 + 3 * j + 2, z0 + 2 * k - 1 : z0 + 2 * k + 2
        ]
        expected = (block * np.array([0.5, 1, 0.5])).sum() / 24
        found = float(phantom.proton_density[k + 5, j + 6, i + 7])
        assert found == pytest.approx(expected if expected > 0.01 else 0, abs=1e-12)


def test_tissue_lies_where_anatomy_has_it(head):
    tissues = brain_tissues(3.0)
    low, high = at(head, -0.02, -0.02, 0.008), at(head, 0.02, 0.03, 0.024)
    assert float(head.t1[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].max()) > 3  # the ventricles
    white = at(head, 0.026, -0.012, 0.030)
    assert float(head.t1[white]) == pytest.approx(tissues["white"].t1, rel=0.05)
    assert float(head.proton_density[at(head, 0, 0.085, 0)]) == 0  # in front of the brain
    assert float(head.proton_density[at(head, 0, -0.085, 0)]) > 0.5  # the occipital lobe
    assert float(head.proton_density[at(head, 0, 0.05, -0.05)]) == 0  # below the frontal lobe
    assert float(head.proton_density[at(head, 0, -0.06, -0.045)]) > 0.5  # the cerebellum
    left, right = head.proton_density[:, :, 1:25], head.proton_density[:, :, 26:].flip(2)
    assert float((left - right).abs().max()) < 0.35  # symmetric but for asymmetric voxels at the surface
    assert float((left - right).abs().mean()) < 0.005


def test_isocentre_moves_the_brain():
    whole = brain((1, 40, 40), (0.2, 0.2, 0.005), isocentre=(0, 0, 0.01), fields=False)
    moved = brain((1, 40, 40), (0.2, 0.2, 0.005), isocentre=(0.01, -0.005, 0.01), fields=False)
    assert torch.allclose(moved.proton_density[:, 1:, :-2], whole.proton_density[:, :-1, 2:], atol=1e-12)


def test_isocentre_moves_the_fields():
    size, step = (0.005, 0.005, 0.005), (0.01, -0.005, 0.015)
    where = coordinates((9, 40, 40), size)
    whole = brain((9, 40, 40), (0.2, 0.2, 0.045), isocentre=(0, 0, 0)).b0 - shim_residue(where, 3.0)
    moved = brain((9, 40, 40), (0.2, 0.2, 0.045), isocentre=step).b0 - shim_residue(where, 3.0)
    assert float(whole.abs().max()) > 50
    assert torch.allclose(moved[:-3, 1:, :-2], whole[3:, :-1, 2:], atol=1e-9)


def test_brain_at_a_coarse_grid_is_the_fine_one_resampled():
    fine = brain((3, 30, 30), (0.18, 0.18, 0.018), fields=False)
    coarse = brain((1, 10, 10), (0.18, 0.18, 0.018), fields=False)
    again = resample(fine, (1, 9, 9), (0.162, 0.162, 0.018))
    inside = again.proton_density > 0.2
    assert int(inside.sum()) > 40
    # 30 voxels have an even count: their grid is half a voxel off the coarse one, which an odd one shares.
    odd = resample(brain((3, 33, 33), (0.198, 0.198, 0.018), fields=False), (1, 9, 9), (0.162, 0.162, 0.018))
    middle = (slice(None), slice(1, 10), slice(1, 10))
    assert torch.allclose(odd.proton_density, coarse.proton_density[middle], atol=0.01)
    assert torch.allclose(odd.t1[inside], coarse.t1[middle][inside], rtol=0.02)


def test_fields_of_the_brain():
    three, seven = brain((21, 32, 32), (0.22, 0.22, 0.147)), brain((21, 32, 32), (0.22, 0.22, 0.147), 7.0)
    filled = three.proton_density > 0
    assert torch.allclose(seven.b0, three.b0 * 7 / 3)
    assert 60 < float(three.b0[filled].max()) < 800  # above the sinuses
    assert float(three.b0[filled].median().abs()) < 15
    highest = torch.nonzero(three.b0 * filled == (three.b0 * filled).max())[0] - torch.tensor([10, 16, 16])
    assert highest[1] > 0  # in front
    assert highest[0] < 0  # and below
    spread = [float(p.b1[0].abs()[filled].max() / p.b1[0].abs()[filled].min()) for p in (three, seven)]
    assert 1.2 < spread[0] < 1.6
    assert 1.8 < spread[1] < 3
    assert len(three.b1) == len(three.coils) == 1


def test_the_licence_of_the_template_ships():
    text = " ".join(resources.files("pulsetwin.sim").joinpath("data/README.md").read_text(encoding="utf-8").split())
    assert "1993-2009 Louis Collins, McConnell Brain Imaging Centre" in text
    assert "Permission to use, copy, modify, and distribute" in text
    settings = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert '"sim/data/*"' in settings


# Fields


def test_field_of_air_solves_laplace_and_has_its_value_at_the_pole():
    step, radius, centre = 1e-3, 0.01, (0.002, -0.003, 0.001)
    where = coordinates((60, 60, 60), (step, step, step))
    field = air_field(where, [(centre, radius)], 3.0)
    laplacian = scipy.ndimage.laplace(field.numpy(), mode="nearest") / step**2
    z, y, x = (axis.numpy() for axis in where)
    away = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
    outside = (away > 0.018) & (np.abs(x + 0 * y + 0 * z) < 0.027) & (np.abs(y + 0 * x) < 0.027) & (np.abs(z) < 0.027)
    curvature = np.abs(np.diff(field.numpy(), 2, axis=0))[:, 1:-1, 1:-1].max() / step**2
    assert np.abs(laplacian[outside]).max() < 0.01 * curvature
    pole = air_field(coordinates((1, 1, 1), (1.0, 1.0, 1.0)), [((0, 0, -radius), radius)], 3.0)
    assert float(pole) == pytest.approx(2 / 3 * 9.4e-6 * 127.73e6, rel=1e-3)


def test_residue_of_the_shim_solves_laplace():
    where = coordinates((9, 9, 9), (0.01, 0.01, 0.01))
    field = shim_residue(where, 3.0)
    assert float(field[4, 4, 4]) == 0
    inner = scipy.ndimage.laplace(field.numpy())[1:-1, 1:-1, 1:-1]
    assert np.abs(inner).max() < 1e-9 * float(field.abs().max())


@pytest.mark.parametrize(("field", "centre", "edge"), [(1.5, 1.03, 0.95), (3.0, 1.15, 0.80), (7.0, 1.25, 0.50)])
def test_transmit_field(field, centre, edge):
    b1 = transmit_field(coordinates((1, 21, 21), (0.01, 0.01, 0.01)), field)[0]
    assert float(b1[10, 10]) == pytest.approx(centre)
    assert float(b1[0, 10]) == pytest.approx(edge, rel=0.16)
    assert float(b1.max()) < 1.01 * centre
    assert float(b1[10, 15]) > float(b1[10, 5])


# Drawn phantoms


@pytest.mark.parametrize("matrix", [(30, 30, 30), (15, 31, 20)])
def test_a_painted_ellipsoid_has_its_volume_and_place(matrix):
    axes = (0.011, 0.006, 0.008)
    shape = Ellipsoid((0.003, -0.002, 0.001), axes, WATER, angle=0.6)
    phantom = painted(matrix, (0.04, 0.04, 0.04), [shape])
    volume = float(phantom.proton_density.sum()) * math.prod(phantom.size)
    assert volume == pytest.approx(4 / 3 * math.pi * math.prod(axes), rel=6e-3)
    where = [axis.numpy() for axis in coordinates(matrix, phantom.size)]
    density = phantom.proton_density.numpy()
    centre = [(density * axis).sum() / density.sum() for axis in where]
    assert centre == pytest.approx([0.001, -0.002, 0.003], abs=5e-5)
    _, y, x = (axis - c for axis, c in zip(where, centre, strict=True))
    covariance = (density * x * y).sum() / density.sum()  # of a solid ellipsoid: (a^2 - b^2) sin cos / 5
    assert covariance == pytest.approx((axes[0] ** 2 - axes[1] ** 2) * math.sin(0.6) * math.cos(0.6) / 5, rel=0.04)


@pytest.mark.parametrize("seed", range(12))
def test_painted_shares_are_counts_of_all_points(seed):
    """Skipping voxels that no surface cuts must change nothing."""
    rng = np.random.default_rng(seed)
    axes = tuple(rng.uniform(0.002, 0.03, 3)) if seed % 3 else (*rng.uniform(0.002, 0.03, 2), math.inf)
    shape = Ellipsoid(tuple(rng.uniform(-0.02, 0.02, 3)), axes, Tissue(1.0, 1.0, 0.1), angle=rng.uniform(0, 7))
    phantom = painted((4, 9, 8), (0.04, 0.03, 0.05), [shape])
    points = [
        ((np.arange(5 * n) + 0.5) / 5 - 0.5 - n // 2) * edge - shape.centre[2 - i]
        for i, (n, edge) in enumerate(zip(phantom.grid, phantom.size[::-1], strict=True))
    ]
    z, y, x = np.meshgrid(*points, indexing="ij")
    turned = (x + 1j * y) * np.exp(-1j * shape.angle)
    inside = (turned.real / axes[0]) ** 2 + (turned.imag / axes[1]) ** 2 + (z / axes[2]) ** 2 <= 1
    share = inside.reshape(4, 5, 9, 5, 8, 5).mean((1, 3, 5))
    assert np.allclose(phantom.proton_density.numpy(), np.where(share > 0.01, share, 0))
    assert share.max() > 0


def test_shapes_cover_those_before_them_and_can_be_empty():
    big, small = (0.02, 0.02, math.inf), (0.01, 0.01, math.inf)
    oil = Tissue(0.9, 0.3, 0.05)
    ring = painted((1, 20, 20), (0.05, 0.05, 0.01), [Ellipsoid((0, 0, 0), big, oil), Ellipsoid((0, 0, 0), small, None)])
    assert float(ring.proton_density[0, 10, 10]) == 0
    assert float(ring.proton_density[0, 10, 16]) == pytest.approx(0.9)
    assert float(ring.t1[0, 10, 16]) == pytest.approx(0.3)
    area = float(ring.proton_density.sum()) / 0.9 * 0.0025**2
    assert area == pytest.approx(math.pi * (0.02**2 - 0.01**2), rel=6e-3)


def test_a_shape_outside_leaves_no_trace():
    shapes = [Ellipsoid((0, 0, 0), (0.02, 0.02, 0.02), WATER), Ellipsoid((0.2, 0, 0), (0.01, 0.01, 0.01), None)]
    both = painted((4, 8, 8), (0.05, 0.05, 0.05), shapes)
    assert torch.equal(both.proton_density, painted((4, 8, 8), (0.05, 0.05, 0.05), shapes[:1]).proton_density)


def test_shepp_logan_is_the_modified_one():
    """Against sigpy's; voxels that an edge crosses, and where its lesions overlap and add, differ."""
    ours = shepp_logan((1, 128, 128)).proton_density[0].numpy()
    theirs = np.abs(sigpy.shepp_logan((128, 128)))
    best = min(
        np.median(np.sort(np.abs(ours - turned).ravel())[: int(0.9 * ours.size)])
        for turned in (theirs, theirs[::-1], theirs[:, ::-1], theirs[::-1, ::-1])
    )
    assert best < 1e-6
    assert set(np.round(np.unique(theirs), 2)) >= {0.0, 0.2, 0.3, 1.0}
    deep = shepp_logan((32, 32, 32), (0.2, 0.2, 0.2))
    assert float(deep.proton_density[0].max()) == 0  # above the head
    assert float(deep.proton_density[16].max()) == pytest.approx(1, abs=0.05)


def test_vials_are_where_they_should_be():
    tissues = [Tissue(1.0, 0.5 + 0.1 * n, 0.05) for n in range(5)]
    phantom = vials((2, 100, 100), (0.2, 0.2, 0.01), tissues=tissues)
    _, count = scipy.ndimage.label(phantom.proton_density[0].numpy() > 0)
    assert count == 5
    for n in range(5):
        x, y = (0.064 * f(2 * math.pi * n / 5) for f in (math.cos, math.sin))
        assert float(phantom.t1[at(phantom, x, y, 0)]) == pytest.approx(0.5 + 0.1 * n)
    assert torch.equal(phantom.t1[0], phantom.t1[1])
    filled = vials((1, 50, 50), background=WATER)
    assert float(filled.t1[0, 25, 25]) == pytest.approx(WATER.t1)
    with pytest.raises(ProtocolError, match="no tissues"):
        vials(tissues=[])


def test_single_voxel():
    one = single_voxel(Tissue(0.7, 1.0, 0.1, 0.05, 1e-9), (1e-3, 2e-3, 3e-3), b0=12.0, b1=0.9j)
    voxels = one.voxels()
    assert len(voxels) == 1
    assert voxels.position.tolist() == [[0, 0, 0]]
    assert voxels.size == (1e-3, 2e-3, 3e-3)
    found = [float(v) for v in (voxels.proton_density, voxels.t1, voxels.t2, voxels.t2_prime, voxels.diffusion)]
    assert found == pytest.approx([0.7, 1.0, 0.1, 0.05, 1e-9])
    assert (float(voxels.b0), complex(voxels.b1)) == (12.0, 0.9j)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 0.0])
@pytest.mark.parametrize("name", ["proton_density", "t1", "t2", "t2_prime", "diffusion", "b0", "b1", "coils"])
def test_values_out_of_range_are_refused_by_name(name, value):
    """Of two voxels, the second has the value."""
    row = torch.tensor(Tissue(0.7, 1.0, 0.1, 0.05, 1e-9).row, dtype=torch.float64)[:, None, None, None]
    zero = torch.zeros((1, 1, 2), dtype=torch.float64)
    pair = mixed(row.repeat(1, 1, 1, 2), (1e-3,) * 3, zero, zero + 1)
    changed = getattr(pair, name).clone()
    changed[..., 1] = value
    allowed = {"t1": {math.inf}, "t2": {math.inf}, "t2_prime": {math.inf}, "b0": {-1.0, 0.0}, "b1": {-1.0, 0.0}}
    allowed |= {"coils": {-1.0, 0.0}, "proton_density": {0.0}, "diffusion": {0.0}}
    phantom = replace(pair, **{name: changed})
    if value in allowed[name]:
        assert len(phantom.voxels()) == (1 if name == "proton_density" else 2)
    else:
        with pytest.raises(ProtocolError, match=f"{name} is .* in 1 voxels"):
            phantom.voxels()


def test_what_empty_voxels_hold_does_not_matter():
    row = torch.tensor(Tissue(0.7, 1.0, 0.1).row, dtype=torch.float64)[:, None, None, None].repeat(1, 1, 1, 2)
    row[:, ..., 1] = 0
    zero = torch.zeros((1, 1, 2), dtype=torch.float64)
    pair = mixed(row, (1e-3,) * 3, zero, zero + 1)
    hole = torch.tensor([[[0.0, math.nan]]], dtype=torch.float64)
    assert len(replace(pair, b0=hole, diffusion=hole).voxels()) == 1


@pytest.mark.parametrize("size", [(0.0, 1e-3, 1e-3), (1e-3, -1e-3, 1e-3), (1e-3, 1e-3, math.nan), (1e-3, 1e-3)])
def test_voxels_without_extent_are_refused(size):
    with pytest.raises(ProtocolError, match="size"):
        replace(single_voxel(), size=size)


@pytest.mark.parametrize("seed", range(20))
def test_random_sparse(seed):
    phantom = random_sparse((2, 24, 20), seed=seed, blocks=6)
    voxels = phantom.voxels()
    assert 1 <= len(voxels) <= 6 * 32
    assert bool((voxels.t2 <= voxels.t1 * (1 + 1e-12)).all())
    bounds = {"proton_density": (0.1, 1.5), "t1": (0.3, 6), "t2": (0.01, 3.8), "t2_prime": (0.02, 0.5), "b0": (-60, 60)}
    for name, (low, high) in bounds.items():
        values = getattr(voxels, name)
        assert bool(((values >= low - 1e-9) & (values <= high + 1e-9)).all()), name
    assert torch.equal(phantom.t1, random_sparse((2, 24, 20), seed=seed, blocks=6).t1)
    assert not torch.equal(phantom.t1, random_sparse((2, 24, 20), seed=seed + 1, blocks=6).t1)


def test_random_sparse_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    random_sparse()
    assert torch.equal(before, torch.random.get_rng_state())


# NIST


@pytest.mark.parametrize("field", [1.5, 3.0])
@pytest.mark.parametrize("plate", ["t1", "t2"])
def test_spheres_hold_their_reference_values(plate, field):
    phantom = nist((1, 220, 220), (0.22, 0.22, 0.001), field, plate=plate)
    reference = nist_reference(plate, field)
    assert len(reference) == len(nist_positions()) == 14
    for (x, y), (t1, t2) in zip(nist_positions(), reference, strict=True):
        where = at(phantom, x, y, 0)
        assert float(phantom.t1[where]) == pytest.approx(t1, rel=1e-12)
        assert float(phantom.t2[where]) == pytest.approx(t2, rel=1e-12)
    assert float(phantom.t1[at(phantom, 0, 0, 0)]) == pytest.approx(WATER.t1)
    assert float(phantom.proton_density[at(phantom, 0, 0.109, 0)]) == 0


def test_layout_of_a_plate():
    places = nist_positions()
    assert places[0] == pytest.approx((0, 0.05))
    assert places[5] == pytest.approx((0, -0.05))
    assert places[2][0] > 0.04  # clockwise from +y to +x
    assert np.linalg.norm(places[:10], axis=1) == pytest.approx(np.full(10, 0.05))
    assert places[10:] == ((-0.02, 0.02), (0.02, 0.02), (0.02, -0.02), (-0.02, -0.02))


def test_nist_tables():
    """Spheres in falling order, and relaxivities of the salts between 1.5 and 3 T that are nearly alike."""
    for plate in ("t1", "t2"):
        for field in (1.5, 3.0):
            t1, t2 = np.array(nist_reference(plate, field)).T
            assert (np.diff(t1) < 0).all()
            assert (np.diff(t2) < 0).all()
            assert (t2 < t1).all()
        low, high = (np.array(nist_reference(plate, field))[:, 0] for field in (1.5, 3.0))
        assert (np.abs(low / high - 1) < 0.25).all()
    assert nist_reference("t1")[0] == pytest.approx((1.989, 1.465))
    assert nist_reference("t2")[-1] == pytest.approx((0.0909, 0.00559))


def test_nist_in_three_dimensions():
    phantom = nist((110, 110, 110), (0.22, 0.22, 0.22), plate="t2", fields=False)
    other = nist_reference("t1")
    for (x, y), (t1, _) in zip(nist_positions(), other, strict=True):
        assert float(phantom.t1[at(phantom, x, y, 0.040)]) == pytest.approx(t1, rel=1e-9)
    fiducials = np.abs(phantom.t1.numpy() - 0.1) < 1e-6
    _, count = scipy.ndimage.label(fiducials)
    assert count == 57
    volume = (phantom.proton_density.numpy() > 0.5).sum() * math.prod(phantom.size)
    assert volume == pytest.approx(4 / 3 * math.pi * 0.1**3, rel=0.03)


def test_unknown_plate():
    with pytest.raises(ProtocolError, match="pd"):
        nist(plate="pd")


# By name


@pytest.mark.parametrize("name", ["brain", "nist", "shepp-logan", "tube", "vials"])
def test_by_name(name):
    phantom = phantom_by_name(name, (1, 20, 24), (0.2, 0.21, 0.004))
    assert phantom.grid == (1, 20, 24)
    assert phantom.fov == pytest.approx((0.2, 0.21, 0.004))
    assert len(phantom.voxels()) > 50
    assert phantom_by_name(name).grid == (1, 128, 128)
    assert float(phantom.b0.abs().max()) > 0


def test_unknown_name_lists_the_known(tmp_path):
    with pytest.raises(ProtocolError, match="brain, nist, shepp-logan, tube, vials"):
        phantom_by_name("brian")


@pytest.mark.parametrize("make", [brain, nist, shepp_logan, vials, random_sparse])
def test_impossible_grids_are_refused(make):
    with pytest.raises(ShapeError):
        make((128, 128), (0.2, 0.2, 0.005))
    with pytest.raises(ShapeError):
        make((1, 0, 128), (0.2, 0.2, 0.005))
    with pytest.raises(ProtocolError, match="between 0 and 10 m"):
        make((1, 8, 8), (220.0, 220.0, 5.0))
