"""Settings of the virtual scanner: their ranges, which can act, and what follows from the sequence."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pypulseq as pp
import pytest
import torch

from examples.twin_sequences import FOV, SYSTEM, epi, rare
from pulsetwin.errors import ProtocolError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.rf import GAMMA
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.acquire import acquire, phantom_for
from pulsetwin.sim.acquire_settings import check_receiver_delay
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import single_voxel
from pulsetwin.sim.timeline_from_seq import timeline_from_seq

MATRIX = 8
STILL = Tissue(1.0, math.inf, math.inf)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    path = tmp_path_factory.mktemp("seq") / "epi.seq"
    epi(MATRIX).write(str(path))
    return read_seq(path)


@pytest.fixture(scope="module")
def head(train):
    return phantom_for(train, "vials", MATRIX)


def written(seq, folder, fov=(FOV, FOV, FOV)):
    """The tables of a sequence that is made here."""
    seq.set_definition("FOV", list(fov))
    seq.write(str(folder / "made.seq"))
    return read_seq(folder / "made.seq")


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ({"coils": 2.5}, "coils 2.5"), ({"coils": 0}, "coils 0"), ({"coils": 33}, "coils 33"),
        ({"coils": True}, "coils"), ({"seed": 1.5}, "seed 1.5"), ({"seed": -1}, "seed -1"),
        ({"seed": 1 << 63}, "seed 9223372036854775808"), ({"spins": 0}, "spins 0"), ({"spins": 1.5}, "spins 1.5"),
        ({"gradient_delay": (1e-3, 0, 0)}, "gradient_delay"), ({"gradient_delay": (0, math.nan, 0)}, "gradient_delay"),
        ({"gradient_delay": (0, 0, -2e-3)}, "gradient_delay"), ({"gradient_delay": (0, 0)}, "gradient_delay"),
        ({"receiver_delay": math.nan}, "receiver_delay nan"), ({"receiver_delay": -1e-3}, "receiver_delay -0.001"),
        ({"receiver_delay": 1.0}, "receiver_delay 1"), ({"receiver_delay": math.inf}, "receiver_delay inf"),
        ({"noise_correlation": 0.3}, "without snr"), ({"snr": math.nan}, "snr nan"),
        ({"engine": "graphs", "spins": 8}, "spins 8 acts on isochromats"),
        ({"engine": "isochromats", "tol": 0.1}, "tol 0.1 acts on graphs"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("engine", ["auto", "graphs", "isochromats"])
def test_settings_out_of_range_are_refused_by_name(train, head, setting, match, engine):
    if engine == "graphs" and "spins" in setting:
        match = "spins"
    with pytest.raises(ProtocolError, match=match):
        acquire(train, head, **{"engine": engine, **setting})


def test_the_largest_seed_and_numpy_numbers_are_taken(train, head):
    whole = {"seed": np.int64(2**63 - 1), "coils": np.int32(2), "snr": np.float32(10)}
    one, same = (acquire(train, head, **whole).groups[0].samples for _ in range(2))
    assert np.array_equal(one, same)
    voxel = single_voxel(STILL)
    assert acquire(train, voxel, engine="isochromats", spins=2, seed=2**63 - 1).groups[0].samples.shape[0] == MATRIX


def test_idle_settings_are_told_where_the_engine_is_chosen_for_the_sequence(train, head):
    plain, idle = acquire(train, head), acquire(train, head, spins=8)
    assert plain.header["engine"] == "graphs"
    assert plain.warnings == ()
    assert idle.warnings == ("spins 8 acts on isochromats only, and the engine is graphs: it had no effect",)
    assert np.array_equal(plain.groups[0].samples, idle.groups[0].samples)


@pytest.mark.parametrize("edge", ["early", "late"])
def test_the_receiver_has_the_room_of_its_blocks(train, edge):
    """A tenth of a microsecond within, the sequence can be played; as far beyond, a sample would leave its block."""
    times = train.adc.delay[0] + (np.arange(MATRIX) + 0.5) * train.adc.dwell[0]
    length = train.block_duration[np.nonzero(train.events[:, -2] >= 0)[0][0]]
    room, out = (-times[0], -1e-7) if edge == "early" else (length - times[-1], 1e-7)
    check_receiver_delay(train, room - out)
    moved = replace(train, adc=replace(train.adc, delay=train.adc.delay + room - out))
    assert len(timeline_from_seq(moved).sample_interval) == MATRIX**2
    with pytest.raises(ProtocolError, match="room for"):
        check_receiver_delay(train, room + out)


@pytest.mark.parametrize("snr", [1.0, 100.0])
def test_noise_without_signal_has_no_ratio_to_it(train, head, snr):
    dark = replace(head, b1=torch.zeros_like(head.b1))
    with pytest.raises(ProtocolError, match="no signal"):
        acquire(train, dark, snr=snr)
    assert not np.asarray(acquire(train, dark).groups[0].samples).any()


def test_noise_alone_needs_snr(tmp_path):
    seq = pp.Sequence(SYSTEM)
    seq.add_block(pp.make_block_pulse(0.1, duration=1e-3, use="excitation", delay=100e-6, system=SYSTEM))
    seq.add_block(pp.make_adc(8, dwell=1e-5, delay=2e-5), pp.make_label("NOISE", "SET", 1), pp.make_delay(1e-3))
    with pytest.raises(ProtocolError, match="give snr"):
        acquire(written(seq, tmp_path), single_voxel(STILL))


# Field


def with_offset(ppm):
    """A pulse and an acquisition whose reference lies `ppm` off."""
    seq = pp.Sequence(SYSTEM)
    seq.add_block(pp.make_block_pulse(np.pi / 2, duration=1e-4, use="excitation", delay=100e-6, system=SYSTEM))
    seq.add_block(pp.make_adc(64, dwell=1e-5, delay=2e-5, freq_ppm=ppm), pp.make_delay(1e-3))
    return seq


@pytest.mark.parametrize(("stated", "scanner"), [(7.0, None), (None, "siemens-prisma"), (3.0, "siemens-prisma")])
def test_offsets_in_ppm_are_played_at_the_field(tmp_path, stated, scanner):
    source = with_offset(-3.4)
    if stated:
        source.set_definition("B0", stated)
    played_by = scanner and Scanner.preset(scanner)
    raw = acquire(written(source, tmp_path), single_voxel(STILL), played_by)
    field = played_by.field_strength if played_by else stated
    assert raw.header["field_strength"] == field
    signal = raw.groups[0].samples[0, 0]
    turn = np.angle(np.vdot(signal[:-1], signal[1:])) / (2 * np.pi * 1e-5)
    assert abs(turn) == pytest.approx(3.4e-6 * GAMMA * field, rel=1e-5)


def test_fields_that_differ_are_refused(tmp_path):
    source = with_offset(1.0)
    source.set_definition("B0", 7.0)
    seq = written(source, tmp_path)
    for use in (lambda s: acquire(seq, single_voxel(STILL), s), lambda s: phantom_for(seq, "brain", 8, s)):
        with pytest.raises(ProtocolError, match=r"7 T.*2\.89"):
            use(Scanner.preset("siemens-prisma"))
        use(Scanner.preset("siemens-terra"))


# Depth


def koosh(directions, inwards=False):
    """Spokes from the centre of k-space outwards, or all along z and through it."""
    seq = pp.Sequence(SYSTEM)
    pulse = pp.make_block_pulse(0.1, duration=1e-4, use="excitation", delay=100e-6, system=SYSTEM)
    span = MATRIX / FOV
    read = pp.make_trapezoid("z", flat_area=span if inwards else span / 2, flat_time=1.6e-3, system=SYSTEM)
    back = pp.make_trapezoid("z", area=-read.area / 2, duration=1e-3, system=SYSTEM)
    adc = pp.make_adc(160, dwell=1e-5, delay=read.rise_time, system=SYSTEM)
    for x, z in directions:
        seq.add_block(pulse)
        if inwards:
            seq.add_block(back)
        sideways = pp.make_trapezoid(
            "x", amplitude=x * read.amplitude, rise_time=read.rise_time, flat_time=read.flat_time, system=SYSTEM
        )
        parts = [pp.scale_grad(read, z)] if z else []
        seq.add_block(*parts, *([sideways] if x else []), adc)
    return seq


@pytest.mark.parametrize(
    ("directions", "inwards", "depth"),
    [
        (((0, 1), (0, -1), (1, 0)), False, MATRIX + 1),
        (((0, 1), (1, 0)), False, MATRIX // 2 + 1),
        (((0, 1), (0, 1)), True, MATRIX + 1),
        (((1, 0), (-1, 0)), False, 1),
        (((0.6, 0.8), (-0.6, -0.8)), False, round(0.8 * MATRIX) + 1),
    ],
)
def test_a_phantom_is_as_deep_as_whole_trajectories_resolve(tmp_path, directions, inwards, depth):
    """The ramp before the first sample adds less than half a step."""
    seq = written(koosh(directions, inwards), tmp_path)
    assert phantom_for(seq, "vials", 4).grid == (depth, 4, 4)


def test_a_slice_is_one_voxel_deep(tmp_path):
    assert phantom_for(written(rare(MATRIX), tmp_path, (FOV, FOV, 5e-3)), "vials", 4).grid == (1, 4, 4)


def test_partitions_are_counted(tmp_path):
    seq = pp.Sequence(SYSTEM)
    pulse = pp.make_block_pulse(0.1, duration=1e-4, use="excitation", delay=100e-6, system=SYSTEM)
    for part in range(6):
        seq.add_block(pulse)
        seq.add_block(pp.make_trapezoid("z", area=(part - 3) / FOV, duration=1e-3, system=SYSTEM))
        seq.add_block(pp.make_adc(4, dwell=1e-5, delay=2e-5), pp.make_delay(1e-3))
    assert phantom_for(written(seq, tmp_path), "vials", 4).grid == (6, 4, 4)
