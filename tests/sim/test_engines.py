"""Which engine is chosen, and that what it is chosen for comes out right."""

from dataclasses import replace

import numpy as np
import pypulseq as pp
import pytest
import torch

from benchmarks.truth_sequences import from_zero
from examples.twin_sequences import epi
from pulsetwin.sim.acquire import acquire, along_gradients
from pulsetwin.sim.engines import choose_engine
from pulsetwin.sim.phantom_brain import brain
from pulsetwin.sim.timeline_from_seq import timeline_from_seq

SYSTEM = pp.Opts(max_grad=30, grad_unit="mT/m", max_slew=150, slew_unit="T/m/s", B0=3.0)
MAPS = ("proton_density", "t1", "t2", "t2_prime", "diffusion", "b0", "b1", "coils")


@pytest.fixture(scope="module")
def head():
    """A slice of a brain, one voxel thick, without diffusion."""
    phantom = brain((1, 24, 24))
    return replace(phantom, diffusion=torch.zeros_like(phantom.diffusion))


def layers(phantom, count, edge):
    """The middle of the phantom `count` times along z, in voxels of `edge` [m]."""
    maps = {name: getattr(phantom, name)[..., 10:14, 10:14] for name in MAPS}
    stack = {name: values.repeat(*(1,) * (values.ndim - 3), count, 1, 1) for name, values in maps.items()}
    return replace(phantom, **stack, size=(*phantom.size[:2], edge))


def excited(pulse, *gradients, preparation=None):
    """A pulse and a short acquisition, after a preparation."""
    seq = pp.Sequence(SYSTEM)
    if preparation is not None:
        seq.add_block(preparation)
        seq.add_block(pp.make_delay(5e-3))
    seq.add_block(pulse, *gradients)
    seq.add_block(pp.make_delay(2e-3))
    seq.add_block(pp.make_adc(16, duration=1.6e-3, system=SYSTEM))
    return seq


def chosen(seq, phantom, **options):
    return choose_engine(timeline_from_seq(seq), phantom, along_gradients(phantom.voxels()), **options)


def hard(degrees, **options):
    return pp.make_block_pulse(np.deg2rad(degrees), duration=2e-4, system=SYSTEM, use="excitation", **options)


def compared(seq, phantom):
    """Signals of both engines, the graphs' as they are chosen to be."""
    parts = [acquire(seq, phantom, engine=engine, spins=512) for engine in ("auto", "isochromats")]
    assert parts[0].header["engine"] == "graphs"
    return tuple(part.groups[0].samples for part in parts)


def test_instants_where_they_will_do(head):
    for seq in (epi(24), excited(hard(90))):
        choice = chosen(seq, head)
        assert choice.engine == "graphs"
        assert choice.rotations is None
        assert "instants" in choice.why


def test_a_slice_of_many_voxels_is_rotated_and_one_of_few_is_not(head):
    fine, deep = layers(head, 48, 0.25e-3), layers(head, 3, 5e-3)
    choice = chosen(epi(24), fine)
    assert choice.engine == "graphs"
    assert choice.rotations is not None
    assert chosen(epi(24), deep).engine == "isochromats"
    graphs, spins = compared(epi(24), fine)
    assert np.linalg.norm(graphs - spins) < 0.02 * np.linalg.norm(spins)


def test_a_rotated_gradient_selects_along_its_own_axis(head):
    """The gradient of a slice along z, turned to x in a slice of one voxel along z."""
    pulse, gradient, rewinder = pp.make_sinc_pulse(
        np.pi / 2, duration=3e-3, slice_thickness=0.1, time_bw_product=4, return_gz=True, system=SYSTEM,
        use="excitation",
    )  # fmt: skip
    seq = pp.Sequence(SYSTEM)
    for events in ((pulse, gradient), (rewinder,)):
        seq.add_block(*pp.rotate(*events, angle=np.pi / 2, axis="y", system=SYSTEM))
    seq.add_block(pp.make_adc(16, duration=1.6e-3, system=SYSTEM))
    choice = chosen(seq, head)
    assert choice.rotations is not None
    graphs, spins = compared(seq, head)
    assert np.linalg.norm(graphs - spins) < 0.05 * np.linalg.norm(spins)


def test_an_adiabatic_inversion_is_no_instant(head):
    inversion = pp.make_adiabatic_pulse("hypsec", duration=10e-3, system=SYSTEM, use="inversion")
    seq = excited(hard(90), preparation=inversion)
    assert chosen(seq, head).rotations is not None
    graphs, spins = compared(seq, head)
    assert np.linalg.norm(graphs - spins) < 0.03 * np.linalg.norm(spins)  # T2 on the way through 10 ms is left out


def test_a_pulse_off_resonance_is_no_instant(head):
    saturation = pp.make_gauss_pulse(
        np.pi / 2, duration=8e-3, freq_offset=-430, bandwidth=300, system=SYSTEM, use="saturation"
    )
    seq = excited(hard(90), preparation=saturation)
    graphs, spins = compared(seq, head)
    assert np.linalg.norm(graphs - spins) < 0.02 * np.linalg.norm(spins)
    instants = acquire(excited(hard(90)), head).groups[0].samples
    assert np.linalg.norm(graphs - instants) < 0.02 * np.linalg.norm(instants)  # water is left alone


def test_isochromats_where_graphs_would_miss_much(head):
    line, voxels = from_zero(np.deg2rad(30), 9), head.voxels()
    choice = choose_engine(line, head, voxels, most=64)
    assert choice.engine == "isochromats"
    assert "miss" in choice.why
    assert choose_engine(line, head, voxels, "graphs", most=64).engine == "graphs"
    assert choose_engine(line, head, voxels, "isochromats").why == "asked for"
