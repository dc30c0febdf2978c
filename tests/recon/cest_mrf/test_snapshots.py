"""Which excitation of an encoded scan makes the contrast of an image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.cest_mrf.snapshots import program_of
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cest_mrf import Protocol, build
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.seqfile import RF, read_seq
from pulsetwin.sim.bloch_mcconnell.entries import play_entries
from pulsetwin.sim.bloch_mcconnell.play import excited, play
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel
from pulsetwin.sim.bloch_mcconnell.restarts import restarted
from pulsetwin.sim.timeline_from_seq import as_seq_file
from tests.recon.cest_mrf.fit_cases import SEQ

PRISMA = Scanner.preset("siemens-prisma")


def model(b0: float) -> PoolModel:
    return PoolModel(2.8, 0.9, (Pool("amine", 1e-3, 200.0, 3.0, 2.8, 0.04),), b0, reset=False)


@pytest.mark.parametrize(
    ("settings", "pulses"),
    [
        ({"readout": "epi", "noise_samples": 64}, (1, 3, 5)),  # after saturations 2 and 4; the first is none
        ({"readout": "epi", "segments": 2}, (1, 4, 7)),
        ({"readout": "epi", "matrix": (8, 8, 4), "shots": 2}, (1, 4, 7)),
        ({"readout": "flash"}, (1, 10, 19)),
        ({"readout": "flash", "order": "linear"}, (5, 14, 23)),  # line 4 of 8
        ({"readout": "flash", "order": "linear", "shots": 2}, (3, 8, 13)),  # line 4 is the third of the first shot
        ({"readout": "fid", "matrix": (1, 1, 1)}, (1, 3, 5)),
        ({"readout": "fid", "matrix": (1, 1, 1), "noise_samples": 64}, (1, 3, 5)),
    ],
)
def test_the_one_that_reads_the_centre_of_k_space(settings, pulses):
    protocol = Protocol(
        **{"matrix": (8, 8, 1), **settings}, b1=(0.0, 1e-6, 2e-6), saturation="cw", saturation_time=(0.1,)
    )
    seq = as_seq_file(build(protocol, PRISMA))
    program = program_of(seq, model(PRISMA.field_strength), "physical")
    number = np.cumsum(seq.events[:, RF] != NONE)
    assert tuple(number[program.record_block]) == pulses


def test_its_magnetisation_is_what_the_engine_gives_for_all():
    protocol = Protocol(matrix=(8, 8, 1), order="linear", b1=(0.0, 2e-6), saturation_time=(0.5,))
    seq, pools = as_seq_file(build(protocol, PRISMA)), model(PRISMA.field_strength)
    program = program_of(seq, pools, "physical")
    every, blocks = excited(seq, pools)
    chosen = torch.from_numpy(np.searchsorted(blocks, program.record_block))
    assert len(every) == 16
    assert torch.allclose(play(program, pools, observe="transverse"), every[chosen], atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"readout": "epi"}, None),
        ({"readout": "flash"}, None),
        ({"readout": "flash", "order": "linear"}, "is not M0"),
        ({"readout": "epi", "flip_angle": (0.2, 0.2, 0.3)}, "image 2 is excited otherwise than M0"),
    ],
)
def test_images_tell_what_the_next_begins_with_if_the_first_excitation_is_read(settings, refused):
    protocol = Protocol(**settings, matrix=(8, 8, 1), b1=(0.0, 1e-6, 2e-6), saturation="cw", recovery=(1.0,))
    pools = model(PRISMA.field_strength)
    program = program_of(as_seq_file(build(protocol, PRISMA)), pools, "physical")
    if refused:
        with pytest.raises(ProtocolError, match=refused):
            restarted(program)
        return
    sequential = np.abs(play_entries(program, pools, (), np.zeros((1, 0)), observe="transverse"))
    shares = sequential / sequential[:, :1]
    parallel = np.abs(
        play_entries(restarted(program), pools, (), np.zeros((1, 0)), observe="transverse", shares=shares)
    )
    np.testing.assert_allclose(parallel, sequential, rtol=5e-4)


def test_without_labels_each_block_with_samples_is_an_image():
    assert program_of(read_seq(SEQ), model(9.4), "pulseq_cest").records == 30


@pytest.mark.parametrize(
    ("labels", "message"),
    [((("NAV", 1), ("NAV", 1)), "no block has samples of an image"),
     ((("REP", 1), ("REP", 0)), "not measured in the order of their labels")],
)  # fmt: skip
def test_without_images_or_order_it_is_refused(labels, message):
    seq = pp.Sequence(PRISMA.opts)
    for name, value in labels:
        seq.add_block(pp.make_block_pulse(1.0, duration=1e-3, delay=1e-4, use="excitation", system=PRISMA.opts))
        seq.add_block(pp.make_adc(4, duration=2e-4, delay=2e-5, system=PRISMA.opts), pp.make_label(name, "SET", value))
    with pytest.raises(ProtocolError, match=message):
        program_of(as_seq_file(seq), model(PRISMA.field_strength), "physical")


def test_images_of_several_readouts_do_not_begin_anew():
    seq = as_seq_file(build(Protocol(matrix=(8, 8, 1), b1=(0.0, 2e-6)), PRISMA))
    with pytest.raises(ProtocolError, match="reset_init_mag: false"):
        program_of(seq, replace(model(PRISMA.field_strength), reset=True), "physical")


def test_echoes_of_an_excitation_are_refused():
    """Two lines of two echoes each."""
    seq = pp.Sequence(PRISMA.opts)
    for line in range(2):
        seq.add_block(pp.make_block_pulse(1.0, duration=1e-3, delay=1e-4, use="excitation", system=PRISMA.opts))
        for echo in range(2):
            labels = (pp.make_label("LIN", "SET", line), pp.make_label("ECO", "SET", echo))
            seq.add_block(pp.make_adc(4, duration=2e-4, delay=2e-5, system=PRISMA.opts), *labels)
    with pytest.raises(ProtocolError, match="give a scan of one echo"):
        program_of(as_seq_file(seq), model(PRISMA.field_strength), "physical")


@pytest.mark.parametrize("apart", [0.0, 5e-3])
def test_slices_in_turn_are_refused(apart):
    rf, gz, _ = pp.make_sinc_pulse(
        0.3, duration=2e-3, slice_thickness=5e-3, delay=PRISMA.rf_dead_time, return_gz=True, use="excitation",
        system=PRISMA.opts,
    )  # fmt: skip
    seq = pp.Sequence(PRISMA.opts)
    for number in range(2):
        rf.freq_offset = gz.amplitude * (0.02 + number * apart)
        seq.add_block(rf, gz)
        seq.add_block(pp.make_adc(4, duration=2e-4, delay=2e-5, system=PRISMA.opts))
    if not apart:
        assert program_of(as_seq_file(seq), model(PRISMA.field_strength), "physical").records == 2
        return
    with pytest.raises(ProtocolError, match="slices are excited in turn"):
        program_of(as_seq_file(seq), model(PRISMA.field_strength), "physical")
