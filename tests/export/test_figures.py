from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pulsetwin.errors import ShapeError
from pulsetwin.export import data_figures, figures
from pulsetwin.export.display import direction, view
from pulsetwin.rawdata import Geometry, Trajectory
from pulsetwin.volume import Images, affine_ras
from tests.synthetic import cartesian_positions, scan

AXES = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def affine(x: str, y: str, z: str, size: tuple[float, float, float] = (2.0, 3.0, 4.0)) -> np.ndarray:
    """Affine whose index axes point to the named directions."""
    result = np.eye(4)
    result[:3, :3] = np.stack([AXES[x], AXES[y], AXES[z]], axis=1) * np.array(size)
    return result


def images(contrasts: int, shape: tuple[int, int, int], noise: bool = True) -> Images:
    random = np.random.default_rng(0)
    values = random.normal(size=(contrasts, *shape)) + 1j * random.normal(size=(contrasts, *shape))
    geometry = Geometry((0.2, 0.2, 0.1), shape[::-1])
    std = np.ones(shape, np.float32) if noise else None
    return Images(values, affine_ras(geometry, shape[::-1]), tuple({} for _ in range(contrasts)), std)


def pixels(figure) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(figures.to_png(figure))).convert("RGB"), float)


@pytest.mark.parametrize(
    ("x", "y", "z", "plane", "edges"),
    [
        ("R", "A", "S", "axial", "RLAP"),
        ("L", "P", "S", "axial", "RLAP"),
        ("A", "R", "S", "axial", "RLAP"),
        ("P", "L", "I", "axial", "RLAP"),
        ("R", "S", "A", "coronal", "RLSI"),
        ("S", "L", "A", "coronal", "RLSI"),
        ("A", "S", "R", "sagittal", "APSI"),
        ("I", "P", "L", "sagittal", "APSI"),
    ],
)
def test_every_orientation_is_shown_the_radiological_way(x, y, z, plane, edges):
    turned = view(affine(x, y, z))
    assert turned.plane == plane
    assert turned.left + turned.right + turned.top + turned.bottom == edges


@pytest.mark.parametrize(("x", "y", "z"), [("R", "A", "S"), ("L", "P", "S"), ("A", "L", "S"), ("P", "R", "I")])
def test_turning_puts_the_voxels_where_the_letters_say(x, y, z):
    matrix = affine(x, y, z)
    rows, columns = np.meshgrid(np.arange(5), np.arange(7), indexing="ij")
    position = np.einsum("ij,jrc->irc", matrix[:3, :2], np.stack([columns, rows]))
    turned = view(matrix)
    right, anterior = turned.turn(position[0]), turned.turn(position[1])
    assert (np.diff(right, axis=1) < 0).all()
    assert (np.diff(anterior, axis=0) < 0).all()


def test_spacing_follows_the_turn():
    assert view(affine("R", "A", "S")).spacing == (3.0, 2.0)
    assert view(affine("A", "R", "S")).spacing == (2.0, 3.0)


def test_oblique_directions_name_both_axes():
    assert direction(np.array([-1.0, 0.1, 0.1])) == "L"
    assert direction(np.array([0.5, -0.8, 0.0])) == "PR"


def test_bright_voxel_is_drawn_where_it_lies():
    shape = (1, 16, 16)
    values = np.full((1, *shape), 1e-3, complex)
    values[0, 0, 11:14, 2:5] = 1.0
    picture = images(1, shape)
    drawn = pixels(figures.magnitude(Images(values, picture.affine, ({},))))
    inside = drawn[60:-30, 30:-30].mean(axis=2)
    rows, columns = np.nonzero(inside > 240)
    assert np.median(rows) < inside.shape[0] / 2, "y grows to anterior, which is on top"
    assert np.median(columns) > inside.shape[1] / 2, "x grows to the patient's right, which is on the left"


@pytest.mark.parametrize(
    ("draw", "shape"),
    [
        (figures.magnitude, (1, 1, 8, 9)),
        (figures.phase, (3, 1, 9, 8)),
        (figures.snr_map, (1, 7, 8, 9)),
        (figures.magnitude, (8, 12, 6, 6)),
    ],
)
def test_montage_of_slices_and_contrasts(draw, shape):
    drawn = pixels(draw(images(shape[0], shape[1:])))
    assert drawn.shape[0] < 3000
    assert drawn.std() > 10


def test_tiles_are_spread_over_slices_and_contrasts():
    tiles, columns = figures._choose_tiles(8, 100)
    assert columns == 5
    assert len(tiles) == 30
    assert {z for _, z in tiles} == {10, 30, 50, 70, 90}
    assert len(figures._choose_tiles(1, 176)[0]) == 20
    assert figures._choose_tiles(1, 1) == ([(0, 0)], 1)


@pytest.mark.parametrize(("target", "length"), [(47.0, 20.0), (50.0, 50.0), (0.9, 0.5), (199.0, 100.0)])
def test_scale_bar_has_a_round_length(target, length):
    assert figures._round_length(target) == length


def test_empty_and_infinite_images_are_drawn():
    picture = images(1, (1, 8, 8))
    for values in (np.zeros_like(picture.values), np.full_like(picture.values, np.nan)):
        figures.to_png(figures.magnitude(Images(values, picture.affine, ({},))))


def test_planes_and_ghost():
    picture = images(1, (20, 8, 9))
    assert pixels(figures.planes(picture)).std() > 10
    assert pixels(figures.ghost(np.abs(picture.values[0]), picture)).std() > 10
    with pytest.raises(ShapeError, match="before the correction"):
        figures.ghost(np.abs(picture.values), picture)


@pytest.mark.parametrize(("shape", "coils"), [((1, 8, 8), 1), ((4, 8, 8), 3)])
def test_figures_of_raw_data(shape, coils):
    random = np.random.default_rng(2)
    positions = cartesian_positions(shape)
    samples = random.normal(size=(len(positions), coils, shape[2])) + 0j
    raw = scan(samples, positions, shape, noise=random.normal(size=(coils, 500)) + 1j)
    for draw in (data_figures.kspace, data_figures.trajectory, data_figures.noise):
        assert pixels(draw(raw)).std() > 10


def test_long_scans_are_read_only_in_part():
    class Counting:
        shape, dtype, read = (100_000, 64, 512), np.dtype(np.complex64), 0

        def __getitem__(self, index):
            Counting.read += len(index)
            return np.ones((len(index), 64, 512), np.complex64)

    positions = np.zeros((1, 512, 3))
    positions[0, :, 0] = np.arange(512)
    raw = scan(np.ones((1, 1, 512)), positions, (1, 1, 512))
    zeros = np.zeros(100_000)
    path = Trajectory(positions, zeros.astype(int), np.zeros((100_000, 3)))
    group = replace(raw.groups[0], samples=Counting(), trajectory=path, start_time=zeros, dwell=zeros + 1e-5)
    data_figures.kspace(replace(raw, groups=(group,)))
    assert 100 < Counting.read <= 512


def test_missing_noise_and_trajectory_are_named():
    raw = scan(np.ones((8, 1, 8)), cartesian_positions((1, 8, 8)), (1, 8, 8))
    with pytest.raises(ShapeError, match="--noise"):
        data_figures.noise(raw)
    with pytest.raises(ShapeError, match=r"\.seq"):
        data_figures.trajectory(replace(raw, groups=(replace(raw.groups[0], trajectory=None),)))
