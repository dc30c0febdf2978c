"""Times, labels, flags and k-space of the readouts against pypulseq and analytic truth."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pypulseq as pp
import pytest

from pulsetwin.errors import ShapeError
from pulsetwin.sequences.readouts import PlayedReadouts, played_readouts
from pulsetwin.sequences.seqfile import read_seq
from tests.sequences import made

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "data").rglob("*.seq"))
PULSE = "shape_id 1\nnum_samples 2\n1\n1\n"
EXCITE = "1 250000 1 0 0 1 0 0 0 0 0 e\n2 500000 1 0 0 1 0 0 0 0 0 r\n3 250000 1 0 0 1 0 0 0 0 0 s\n"


def all_positions(played: PlayedReadouts) -> np.ndarray:
    return played.trajectory(np.arange(len(played))).positions().reshape(-1, 3)


def all_times(played: PlayedReadouts) -> np.ndarray:
    return (played.start_time[:, None] + np.arange(played.num_samples[0]) * played.dwell[:, None]).reshape(-1)


def hand_written(tmp_path: Path, version: str, blocks: str, **sections: str) -> PlayedReadouts:
    path = tmp_path / "a.seq"
    path.write_text(made.text(version, blocks, **sections))
    return played_readouts(read_seq(path))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_real_files_agree_with_pypulseq(path):
    played = played_readouts(read_seq(path))
    peer = pp.Sequence()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer.read(str(path), detect_rf_use=True)
        k, _, excitations, _, times = peer.calculate_kspace()
    np.testing.assert_allclose(all_positions(played), k.T, atol=1e-6 * np.abs(k).max())
    np.testing.assert_allclose(all_times(played), times, atol=1e-9)
    assert set(np.round(played.excitation_time, 8)) <= set(np.round(excitations, 8))


@pytest.mark.parametrize("version", ["1.4.1", "1.5.0"])
@pytest.mark.parametrize("make", [made.spin_echo, made.spiral, lambda: made.gradient_echo(8, 3)])
def test_written_files_agree_with_their_source(tmp_path, version, make):
    source = make()
    played = played_readouts(read_seq(made.write(source, tmp_path / "a.seq", version)))
    k, _, _, _, times = source.calculate_kspace()
    np.testing.assert_allclose(all_positions(played), k.T, atol=5e-6 * np.abs(k).max())
    np.testing.assert_allclose(all_times(played), times, atol=1e-9)
    labels = source.evaluate_labels(evolution="adc")
    assert set(played.labels) == set(labels)
    for name, values in labels.items():
        np.testing.assert_array_equal(played.labels[name], values)


def test_flags_follow_labels(tmp_path):
    extensions = (
        "1 1 1 0\n2 1 2 0\n3 1 3 4\n4 1 4 0\n5 1 5 6\n6 1 6 0\n7 1 7 0\n\nextension LABELSET 1\n"
        "1 1 NOISE\n2 1 NAV\n3 0 NAV\n4 1 REF\n5 1 IMA\n6 1 REV\n7 1 OFF\n"
    )
    blocks = "1 3 0 0 0 0 1 0\n2 3 0 0 0 0 1 2\n3 3 0 0 0 0 1 3\n4 3 0 0 0 0 1 5\n5 3 0 0 0 0 1 7\n6 3 0 0 0 0 1 1\n"
    played = hand_written(tmp_path, "1.4.1", blocks, adc="1 4 1000 0 0 0\n", extensions=extensions)
    expected = {
        "imaging": [1, 0, 0, 1, 0, 0],
        "navigator": [0, 1, 0, 0, 0, 0],
        "reference": [0, 0, 1, 1, 1, 1],
        "reversed": [0, 0, 0, 1, 1, 1],
        "noise": [0, 0, 0, 0, 0, 1],
    }
    assert {name: flag.astype(int).tolist() for name, flag in played.flags.items()} == expected


def test_sets_and_increments_of_one_block_act_from_the_end_of_the_list(tmp_path):
    extensions = "1 1 1 2\n2 2 1 0\n3 2 1 0\n\nextension LABELSET 1\n1 5 LIN\n\nextension LABELINC 2\n1 2 LIN\n"
    blocks = "1 3 0 0 0 0 1 3\n2 3 0 0 0 0 1 3\n3 3 0 0 0 0 1 1\n4 3 0 0 0 0 1 0\n5 3 0 0 0 0 1 3\n"
    played = hand_written(tmp_path, "1.4.1", blocks, adc="1 4 1000 0 0 0\n", extensions=extensions)
    assert played.labels["LIN"].tolist() == [2, 4, 5, 5, 7]


def test_excitation_resets_refocusing_negates_saturation_does_neither(tmp_path):
    blocks = (
        "1 20 0 1 0 0 0 0\n2 1 1 0 0 0 0 0\n3 20 0 1 0 0 0 0\n4 20 0 1 0 0 1 0\n5 1 2 0 0 0 0 0\n6 20 0 1 0 0 1 0\n"
        "7 1 2 0 0 0 0 0\n8 20 0 1 0 0 1 0\n9 1 3 0 0 0 0 0\n10 20 0 0 0 0 1 0\n"
    )
    played = hand_written(
        tmp_path,
        "1.5.0",
        blocks,
        rf=EXCITE,
        trap="1 100000 50 100 50 0\n",
        adc="1 1 1000 199.5 0 0 0 0 0\n",
        shapes=PULSE,
    )
    area = 100000 * 150e-6
    np.testing.assert_allclose(played.origin[:, 0] + [area, area, area, 0], np.array([2, -1, 2, 2]) * area)
    np.testing.assert_allclose(all_positions(played)[:, 0], np.array([2, -1, 2, 2]) * area, rtol=1e-12)
    np.testing.assert_allclose(played.excitation_time, 200e-6 + 1e-6)


def test_the_reset_is_at_the_centre_of_the_pulse(tmp_path):
    """Half of a constant gradient under a pulse counts; a pulse and its acquisition may share the block."""
    played = hand_written(
        tmp_path,
        "1.5.0",
        "1 20 1 0 0 1 1 0\n",
        rf="1 250 1 0 0 1 50 0 0 0 0 e\n",
        trap="1 100000 10 180 10 0\n",
        adc="1 4 10000 100 0 0 0 0 0\n",
        shapes=PULSE,
    )
    when = 100e-6 + (np.arange(4) + 0.5) * 10e-6
    np.testing.assert_allclose(all_positions(played)[:, 2], 100000 * (when - 51e-6), rtol=1e-12)


def test_slice_offset_is_frequency_over_gradient(tmp_path):
    played = hand_written(
        tmp_path,
        "1.5.0",
        "1 20 1 0 0 1 0 0\n2 20 0 0 0 0 1 0\n",
        rf="1 250 1 0 0 1 100 0 0 3000 0 e\n",
        trap="1 -600000 10 180 10 0\n",
        adc="1 4 10000 100 0 0 0 0 0\n",
        shapes=PULSE,
    )
    np.testing.assert_allclose(played.slice_offset, [0.005])
    np.testing.assert_allclose(played.slice_direction, [[0, 0, -1]])


def test_rotations_turn_gradients(tmp_path):
    """The same trapezoid, turned by 0, 90 and 30 degrees about z, and about a tilted axis."""
    angle = np.deg2rad(30)
    tilted = np.array([0.5, *(np.sqrt(0.75) * np.array([1, 2, 2]) / 3)])
    quaternions = [[np.sqrt(0.5), 0, 0, np.sqrt(0.5)], [np.cos(angle / 2), 0, 0, np.sin(angle / 2)], tilted]
    rows = "".join(f"{i + 1} " + " ".join(f"{q:.15g}" for q in row) + "\n" for i, row in enumerate(quaternions))
    extensions = "1 1 1 0\n2 1 2 0\n3 1 3 0\n\nextension ROTATIONS 1\n" + rows
    blocks = "".join(f"{2 * i + 1} 1 1 0 0 0 0 0\n{2 * i + 2} 20 0 1 0 2 1 {i}\n" for i in range(4))
    played = hand_written(
        tmp_path,
        "1.5.1",
        blocks,
        rf=EXCITE,
        trap="1 100000 10 180 10 0\n2 50000 10 180 10 0\n",
        adc="1 8 10000 20 0 0 0 0 0\n",
        extensions=extensions,
        shapes=PULSE,
    )
    trajectory = played.trajectory(np.arange(4))
    assert len(trajectory.shapes) == 4
    plain = trajectory.positions()[0]
    axis, turn = np.array([1, 2, 2]) / 3, np.deg2rad(120)
    expected = [
        plain,
        plain @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]).T,
        plain @ np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]).T,
        plain * np.cos(turn) + np.cross(axis, plain) * np.sin(turn) + np.outer(plain @ axis, axis) * (1 - np.cos(turn)),
    ]
    np.testing.assert_allclose(trajectory.positions(), expected, atol=1e-9)
    np.testing.assert_allclose(played.origin, 0, atol=1e-9)


def test_oversampled_gradients_integrate_exactly(tmp_path):
    shape = "shape_id 1\nnum_samples 2\n1\n1\n\nshape_id 2\nnum_samples 5\n0.25\n0.5\n1\n0.5\n0.25\n"
    played = hand_written(
        tmp_path,
        "1.5.1",
        "1 1 1 0 0 0 0 0\n2 3 0 1 0 0 1 0\n",
        rf=EXCITE,
        gradients="1 4000 0 0 2 -1 0\n",
        adc="1 6 5000 0 0 0 0 0 0\n",
        shapes=shape,
    )
    corners = np.array([0, 1000, 2000, 4000, 2000, 1000, 0])
    fine = np.linspace(0, 30e-6, 60001)
    value = np.interp(fine, np.arange(7) * 5e-6, corners)
    integral = np.concatenate(([0], np.cumsum((value[1:] + value[:-1]) / 2 * np.diff(fine))))
    samples = (np.arange(6) + 0.5) * 5e-6
    np.testing.assert_allclose(all_positions(played)[:, 0], np.interp(samples, fine, integral), rtol=1e-6)


def test_equal_blocks_share_a_shape_and_positions_are_rebuilt(tmp_path):
    path = made.write(made.gradient_echo(16, 4), tmp_path / "a.seq", "1.5.0")
    played = played_readouts(read_seq(path))
    trajectory = played.trajectory(np.arange(len(played)))
    assert trajectory.shapes.dtype == np.float64
    assert len(trajectory.shapes) <= 64
    np.testing.assert_array_equal(trajectory.shapes[:, 32], 0)
    few = np.array([3, 1, 40])
    np.testing.assert_allclose(played.trajectory(few).positions(), trajectory.positions()[few], atol=1e-9)


def test_mixed_lengths_are_refused(tmp_path):
    played = hand_written(
        tmp_path, "1.4.1", "1 3 0 0 0 0 1 0\n2 3 0 0 0 0 2 0\n", adc="1 4 1000 0 0 0\n2 8 1000 0 0 0\n"
    )
    with pytest.raises(ShapeError, match=r"\[4, 8\]"):
        played.trajectory(np.array([0, 1]))


def test_a_sequence_without_acquisitions_has_no_readouts(tmp_path):
    played = hand_written(tmp_path, "1.4.1", "1 3 0 0 0 0 0 0\n")
    assert len(played) == 0
    assert np.isnan(played_readouts(played.seq).excitation_time).all()
