"""Training data: what a file holds follows from the seed, whoever makes it, and also after an interrupt."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from pulsetwin.errors import FileError, MismatchError, ProtocolError
from pulsetwin.operators.strips import strip_areas
from pulsetwin.sim.raser.training_data import Domain, generate, one_image, training_file

SMALL = Domain(matrix=12, angles=4, modes=19, samples=64, dwell=0.02, pumped=(0.5, 0.5))


def make(path, images=25, seed=3, **given):
    with ThreadPoolExecutor(2) as executor:
        generate(path, SMALL, images, seed, executor=executor, **given)


def test_a_file_holds_images_and_their_signals(tmp_path):
    make(tmp_path / "data.h5")
    with training_file(tmp_path / "data.h5", SMALL) as file:
        assert file["complete"][:].all()
        assert file["signal"].shape == (25, 4, 64)
        for number in (0, 24):
            expected = one_image(SMALL, 3, number)
            for name in SMALL.layout:
                assert np.array_equal(file[name][number], expected[name].astype(file[name].dtype))
        assert 0 < (file["parameters"][:, 3] > 0).mean() < 1  # some are pumped


def test_an_interrupt_costs_a_shard(tmp_path):
    path = tmp_path / "data.h5"
    make(path)
    again = tmp_path / "again.h5"
    shutil.copy(path, again)
    with h5py.File(path, "r+") as file:
        file["complete"][1] = False
        file["signal"][20:] = 0
    seen = []
    make(path, progress=lambda done, total, what: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    with h5py.File(path) as file:
        assert abs(file["signal"][20:]).min(2).max() > 0
    with h5py.File(path) as one, h5py.File(again) as other:
        assert all(np.array_equal(one[name], other[name]) for name in SMALL.layout)


def test_a_file_of_something_else_is_told(tmp_path):
    make(tmp_path / "data.h5", images=2)
    with pytest.raises(MismatchError, match="seed"):
        make(tmp_path / "data.h5", images=2, seed=4)
    with pytest.raises(MismatchError, match="domain"):
        training_file(tmp_path / "data.h5", Domain())
    (tmp_path / "text.h5").write_text("nothing")
    with pytest.raises(FileError, match="HDF5"):
        make(tmp_path / "text.h5", images=2)


def test_finer_modes_are_of_the_same_object():
    """The image that four modes a pixel are of is the mean of the finer one; the totals are the same."""
    common = {"matrix": 24, "angles": 2, "modes": 37, "samples": 16, "dwell": 0.02}
    fine, coarse = (one_image(Domain(**common, finer=finer), 3, 5) for finer in (4, 1))
    assert np.corrcoef(fine["image"].ravel(), coarse["image"].ravel())[0, 1] > 0.9
    assert np.array_equal(fine["total"], coarse["total"])


def test_the_spectrum_far_below_the_threshold_is_the_projection():
    """The phases of its modes are random, the frequencies are not: lowest farthest along the direction."""
    domain = Domain(
        matrix=8, angles=1, modes=13, samples=4096, dwell=5e-3, bandwidth=2.0, total=(1e-3, 1e-3), t2=(5.0, 5.0),
        pumped=(0.0, 0.0),
    )  # fmt: skip
    strips = strip_areas((8, 8), np.zeros(1), 13)
    frequencies, compared = np.fft.fftfreq(4096, 5e-3), 0
    for number in range(30):
        made = one_image(domain, 0, number)
        spectrum = np.fft.fft(made["signal"][0])
        powers = np.array([abs(spectrum[abs(frequencies + 2.0 * (mode - 6)) < 0.5]).sum() for mode in range(13)])
        empty = (strips @ made["image"].ravel()) == 0
        lower, upper = empty[:6].sum(), empty[7:].sum()
        if abs(lower - upper) > 1:  # not where both directions would do
            assert powers[empty].max() < powers[~empty].max() / 5
            compared += 1
    assert compared > 3


def test_settings_out_of_range_are_told():
    with pytest.raises(ProtocolError, match="total"):
        Domain(total=(0.0, 1.0))
    with pytest.raises(ProtocolError, match="spread"):
        Domain(spread=1.0)
    with pytest.raises(ProtocolError, match="angles"):
        Domain(angles=0)


def test_a_seed_below_0_is_told(tmp_path):
    with pytest.raises(ProtocolError, match="seed"):
        generate(tmp_path / "a.h5", Domain(), 1, -1)
