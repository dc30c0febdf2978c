"""Where the virtual scanner plays the gradients: x to the patient's right, y to the back, z to the head."""

from __future__ import annotations

import math

import nibabel
import numpy as np
import pypulseq as pp
import pytest
import torch

from examples.twin_sequences import FOV, SYSTEM, epi
from pulsetwin.export.nifti import write_magnitude
from pulsetwin.export.twix import write
from pulsetwin.recon.read import read
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom import Phantom
from tests.world import centres

VOXEL = 0.02
FIELDS = (12 * VOXEL, 10 * VOXEL, 8 * VOXEL)
MATRIX = 24


def point(grid, size, place, *, b0=0.0, relaxation=1e4):
    """A phantom that holds a point of water, `place` voxels along RAS from its centre."""
    density = torch.zeros(grid, dtype=torch.float64)
    density[tuple(n // 2 + step for n, step in zip(grid, place[::-1], strict=True))] = 1.0
    ones = torch.ones(grid, dtype=torch.float64)
    field = ones[None].to(torch.complex128)
    return Phantom(
        proton_density=density, t1=relaxation * ones, t2=relaxation * ones, t2_prime=math.inf * ones,
        diffusion=0 * ones, b0=b0 * ones, b1=field, coils=field, size=size, shape="point",
    )  # fmt: skip


def volume_scan(path):
    """Gradient echoes of a whole volume, 12 x 10 x 8, each after everything has relaxed."""
    seq = pp.Sequence(SYSTEM)
    pulse = pp.make_block_pulse(
        np.deg2rad(5), duration=0.1e-3, delay=SYSTEM.rf_dead_time, use="excitation", system=SYSTEM
    )
    read_out = pp.make_trapezoid("x", flat_area=12 / FIELDS[0], flat_time=1.2e-3, rise_time=0.1e-3, system=SYSTEM)
    adc = pp.make_adc(12, dwell=0.1e-3, delay=read_out.rise_time - 0.05e-3, system=SYSTEM)
    back = pp.make_trapezoid("x", area=-read_out.area / 2, duration=1e-3, system=SYSTEM)
    for partition in range(-4, 4):
        for line in range(-5, 5):
            steps = [
                pp.make_trapezoid(axis, area=step / fov, duration=1e-3, system=SYSTEM)
                for axis, step, fov in (("y", line, FIELDS[1]), ("z", partition, FIELDS[2]))
            ]
            seq.add_block(pulse)
            seq.add_block(back, *steps)
            seq.add_block(read_out, adc)
            seq.add_block(pp.make_delay(0.2))
    seq.set_definition("FOV", list(FIELDS))
    seq.set_definition("Matrix", [12, 10, 8])
    seq.write(str(path))


def through_files(sequence, phantom, folder):
    """Play, write and read TWIX, reconstruct, write and read NIfTI: magnitude ``[x, y, z]`` and its affine."""
    write(acquire(sequence, phantom), folder / "scan.dat")
    write_magnitude(folder / "image.nii", reconstruct(read(folder / "scan.dat", sequence)))
    image = nibabel.load(folder / "image.nii")
    return np.asarray(image.dataobj).reshape(image.shape[:3]), image.affine


def brightest(image, affine):
    """Return the place of the brightest voxel, RAS [mm]."""
    return affine[:3] @ np.append(np.unravel_index(int(image.argmax()), image.shape), 1)


def test_a_vial_is_imaged_where_it_is(tmp_path):
    """To the right, in front and towards the head, each by another length."""
    volume_scan(tmp_path / "volume.seq")
    vial = point((8, 10, 12), (VOXEL, VOXEL, VOXEL), (4, 3, 2), relaxation=10e-3)
    assert np.allclose(centres(vial)[vial.proton_density.numpy() > 0], [[80, 60, 40]])
    image, affine = through_files(tmp_path / "volume.seq", vial, tmp_path)
    np.testing.assert_allclose(brightest(image, affine), [80, 60, 40], atol=1e-3)
    assert np.sort(image.ravel())[-2] < 0.05 * image.max()


@pytest.mark.parametrize("voxels_off", [3, -2])
def test_blips_up_shift_spins_of_positive_offset_to_the_back(tmp_path, voxels_off):
    """A line every T, blips up along y: offset f looks like a place f T FOV further along y, which points to the back.

    From ``k_y y + f t`` with ``t = T FOV k_y``; along x each line sees the offset for a dwell time only.
    """
    sequence = epi(MATRIX)
    sequence.write(str(tmp_path / "epi.seq"))
    k, _, _, _, time = sequence.calculate_kspace()
    lines = time.reshape(MATRIX, MATRIX).mean(1)
    assert (np.diff(k[1].reshape(MATRIX, MATRIX)[:, 0]) > 0).all()
    spacing = float(np.diff(lines).mean())
    offset = voxels_off / (MATRIX * spacing)
    edge = FOV / MATRIX
    spin = point((1, MATRIX, MATRIX), (edge, edge, 5e-3), (2, 4, 0), b0=offset)
    image, affine = through_files(tmp_path / "epi.seq", spin, tmp_path)
    place = 1e3 * np.array([2 * edge, 4 * edge - offset * spacing * FOV, 0])
    np.testing.assert_allclose(brightest(image, affine), place, atol=0.1)


def coronal_slice(offset):
    """One excitation of a slice of 10 mm at `offset` [m] along the gradient y, and samples of its echo."""
    seq = pp.Sequence(SYSTEM)
    pulse, select, rephase = pp.make_sinc_pulse(
        np.pi / 2, duration=4e-3, slice_thickness=10e-3, time_bw_product=6, apodization=0.5, use="excitation",
        return_gz=True, delay=SYSTEM.rf_dead_time, system=SYSTEM,
    )  # fmt: skip
    pulse.freq_offset = select.amplitude * offset
    select.channel = rephase.channel = "y"
    seq.add_block(pulse, select)
    seq.add_block(rephase)
    seq.add_block(pp.make_adc(16, dwell=10e-6, delay=SYSTEM.adc_dead_time, system=SYSTEM))
    seq.set_definition("FOV", [FOV, 10e-3, FOV])
    return seq


@pytest.mark.parametrize("engine", ["graphs", "isochromats"])
def test_a_slice_further_along_y_lies_further_back(engine):
    """The geometry says so, and the spins there are those that answer."""
    sequence = coronal_slice(30e-3)
    front, back = (point((1, 61, 1), (1e-3, 1e-3, 1e-3), (0, place, 0)) for place in (30, -30))
    spins = 1 if engine == "isochromats" else None
    raw, silent = (acquire(sequence, spin, engine=engine, spins=spins) for spin in (back, front))
    heard, rest = (np.abs(one.groups[0].samples).mean() for one in (raw, silent))
    assert heard == pytest.approx(1, abs=0.02)
    assert rest < 0.02
    np.testing.assert_allclose(raw.geometry.centers, [[0, -30e-3, 0]], atol=1e-6)
