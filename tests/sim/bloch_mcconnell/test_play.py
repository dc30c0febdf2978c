"""The engine against differential equations and closed forms, its signs, and its gradients."""

from __future__ import annotations

import math

import numpy as np
import pypulseq as pp
import pytest
import torch
from scipy.integrate import solve_ivp

from pulsetwin.errors import MismatchError, ProtocolError, ShapeError
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cest_mrf import Protocol, build
from pulsetwin.sequences.seqfile import read_seq
from pulsetwin.sim.bloch_mcconnell.play import excited, simulate
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel
from tests.sim.bloch_mcconnell.protocols import spin_lock_protocol

SCANNER = Scanner.preset("siemens-prisma")
PPM = 1e-6 * SCANNER.gamma * SCANNER.field_strength
AMIDE = Pool("amide", 0.01, 80.0, 3.5, 1.0, 0.05)


def model_of(*pools, **changes):
    return PoolModel(
        **{"t1": 1.3, "t2": 0.08, "pools": pools, "b0": SCANNER.field_strength,
           "gamma": 2 * math.pi * SCANNER.gamma} | changes
    )  # fmt: skip


def played(path, *blocks):
    """Return the sequence of blocks, each a tuple of events, read from its file."""
    seq = pp.Sequence(SCANNER.opts)
    for block in blocks:
        seq.add_block(*block)
    seq.write(str(path / "played.seq"))
    return read_seq(path / "played.seq")


def pulse(amplitude, duration, frequency=0.0, phase=0.0):
    """Return the block of a constant pulse; amplitude and frequency in Hz."""
    rf = pp.make_block_pulse(
        2 * math.pi * amplitude * duration, duration=duration, freq_offset=frequency, phase_offset=phase,
        delay=SCANNER.rf_dead_time, use="saturation", system=SCANNER.opts,
    )  # fmt: skip
    return (rf,)


def delay(time):
    return (pp.make_delay(time),)


SAMPLES = (pp.make_adc(2, duration=200e-6, delay=SCANNER.adc_dead_time, system=SCANNER.opts), pp.make_delay(1e-3))


def spectrum(path, offsets, amplitude=40.0, time=2.0, crusher=True):
    """Return a Z-spectrum at offsets [ppm]; `amplitude` in Hz."""
    crush = tuple(pp.make_trapezoid(axis, area=2000, duration=5e-3, system=SCANNER.opts) for axis in "xyz")
    blocks = [b for ppm in offsets for b in (pulse(amplitude, time, ppm * PPM), crush, SAMPLES)]
    return played(path, *blocks)


def test_field_and_exchange_against_the_differential_equation(tmp_path):
    """A rotating field with jumps of phase in the carrier's frame, and samples on the way."""
    parts = [(60.0, 4e-3, 150.0, 0.3), (0.0, 3e-3, 0.0, 0.0), (90.0, 2e-3, -410.0, 2.0), (0.0, 1e-3, 0, 0),
             (50.0, 3e-3, 150.0, -1.0)]  # fmt: skip
    blocks = [pulse(*part) if part[0] else delay(part[1]) for part in parts]
    got = simulate(played(tmp_path, *blocks, SAMPLES), model_of(AMIDE), observe="transverse")[0]
    z = simulate(played(tmp_path, *blocks, SAMPLES), model_of(AMIDE))[0]
    expected = integrated(parts, model_of(AMIDE))
    np.testing.assert_allclose(got.numpy(), expected[0] + 1j * expected[1], rtol=0, atol=1e-8)
    np.testing.assert_allclose(z.numpy(), expected[2], rtol=0, atol=1e-8)


def integrated(parts, model):
    """Return x, y, z of water after the parts, by Runge-Kutta steps in the frame of the carrier."""
    pool, state, shift = model.pools[0], np.array([0, 0, 1, 0, 0, model.pools[0].fraction]), 2 * math.pi * PPM
    dead, ring = SCANNER.rf_dead_time, SCANNER.rf_ringdown_time

    def slope(time, m, amplitude, frequency, phase):
        water, bound = m[:3], m[3:]
        flux = pool.exchange_rate * (bound - pool.fraction * water)
        angle = phase + 2 * math.pi * frequency * time
        field = -2 * math.pi * amplitude * np.array([math.cos(angle), math.sin(angle), 0])
        relax = lambda m, size, t1, t2: np.array([-m[0] / t2, -m[1] / t2, (size - m[2]) / t1])  # noqa: E731
        with_shift = field + np.array([0, 0, shift * pool.shift])
        return np.concatenate((
            np.cross(field, water) + relax(water, 1, model.t1, model.t2) + flux,
            np.cross(with_shift, bound) + relax(bound, pool.fraction, pool.t1, pool.t2) - flux,
        ))  # fmt: skip

    def after(state, time, *field):
        return solve_ivp(slope, (0, time), state, "DOP853", args=field, rtol=1e-11, atol=1e-13).y[:, -1]

    for amplitude, time, frequency, phase in parts:
        state = after(state, dead, 0, 0, 0) if amplitude else state
        state = after(state, time, amplitude, frequency, phase)
        state = (
            after(state, math.ceil((dead + time + ring) * 1e5 - 1e-6) / 1e5 - dead - time, 0, 0, 0)
            if amplitude
            else state
        )
    return after(state, SCANNER.adc_dead_time, 0, 0, 0)[:3]


def test_continuous_wave_reaches_the_steady_state_of_bloch(tmp_path):
    offsets, nutation = np.array([-2.0, -0.4, 0.1, 1.0]), 2 * math.pi * 40.0
    z = simulate(spectrum(tmp_path, offsets, time=15.0), model_of(), reset=True).numpy()
    away, r1, r2 = 2 * math.pi * offsets * PPM, 1 / 1.3, 1 / 0.08
    saturation = nutation**2 * r2 / (r2**2 + away**2)
    steady = r1 / (r1 + saturation)
    recovered = 1 - (1 - steady) * math.exp(-5e-3 * r1)
    np.testing.assert_allclose(z, recovered, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("mode", "sign"), [("physical", 1), ("pulseq_cest", -1)])
def test_field_shift_moves_all_resonances_alike(tmp_path, mode, sign):
    offsets = np.round(np.arange(-1, 4.6, 0.1), 3)
    seq = spectrum(tmp_path, offsets, 15.0)
    shifts = torch.tensor([0.0, 0.3], dtype=torch.float64)
    bare, pooled = (simulate(seq, model_of(*pools), {"b0_shift": shifts}, mode=mode) for pools in ((), (AMIDE,)))
    water = offsets[pooled.argmin(-1).numpy()]
    amide = offsets[20 + (bare - pooled)[:, 20:].argmax(-1).numpy()]
    np.testing.assert_allclose(water, [0, 0.3 * sign], atol=1e-9)
    np.testing.assert_allclose(amide, [3.5, 3.5 + 0.3 * sign], atol=1e-9)


def test_transmit_field_scales_pulses(tmp_path):
    weak, strong = (spectrum(tmp_path, [0.5, 3.5], amplitude) for amplitude in (40.0, 48.0))
    scaled = simulate(weak, model_of(AMIDE), {"b1": torch.tensor(1.2, dtype=torch.float64)})
    np.testing.assert_allclose(scaled.numpy(), simulate(strong, model_of(AMIDE)).numpy(), atol=1e-6)


def test_inversion_is_negative(tmp_path):
    z = simulate(played(tmp_path, pulse(500.0, 1e-3), SAMPLES), model_of())
    assert z[0] < -0.98


def test_pools_that_do_not_exchange_do_not_matter(tmp_path):
    seq = spectrum(tmp_path, [0.5, 3.5])
    alone = simulate(seq, model_of())
    for name in ("fraction", "exchange_rate"):
        none = simulate(seq, model_of(AMIDE), {f"amide.{name}": torch.zeros((), dtype=torch.float64)})
        np.testing.assert_allclose(none.numpy(), alone.numpy(), atol=1e-12)


def test_stiff_pool_is_its_semisolid(tmp_path):
    """But for the transverse magnetisation of water that goes to the pool and is lost."""
    seq, short = spectrum(tmp_path, [6.0, 10.0, 20.0]), ("mt", 0.1, 40.0, 0.0, 1.0, 1e-5)
    full = simulate(seq, model_of(Pool(*short)))
    semisolid = simulate(seq, model_of(Pool(*short, "lorentzian"), t2=1 / (1 / 0.08 + 0.1 * 40)))
    np.testing.assert_allclose(full.numpy(), semisolid.numpy(), atol=1e-4)


@pytest.mark.parametrize("mode", ["physical", "pulseq_cest"])
@pytest.mark.parametrize("lineshape", [None, "lorentzian", "super_lorentzian"])
def test_gradients(tmp_path, mode, lineshape):
    seq = spin_lock_protocol(tmp_path / "lock.seq", shots=3, b1=(2e-6,), offset=(3.0, -6.0), saturation_time=(0.5,))
    pools = (AMIDE, Pool("mt", 0.1, 40.0, -2.5, 1.0, 4e-5, lineshape))
    model = model_of(*pools, reset=False, b0_shift=0.1)
    names = [name for name, _ in model.parameters()]
    at = torch.tensor([[value] for _, value in model.parameters()], dtype=torch.float64)
    relative = torch.ones_like(at).requires_grad_()

    def signal(relative):
        given = dict(zip(names, relative * at, strict=True))
        return torch.view_as_real(simulate(seq, model, given, mode=mode, observe="transverse"))

    assert torch.autograd.gradcheck(signal, (relative,), eps=1e-5, atol=1e-6, rtol=1e-5)


def test_parameters_are_broadcast(tmp_path):
    seq = spectrum(tmp_path, [0.5, 3.5])
    t1, f = torch.tensor([1.0, 2.0, 3.0])[:, None], torch.tensor([0.01, 0.02])
    z = simulate(seq, model_of(AMIDE), {"t1": t1, "amide.fraction": f})
    assert z.shape == (3, 2, 2)
    one = simulate(seq, model_of(AMIDE, t1=2.0), {"amide.fraction": f[1]})
    np.testing.assert_allclose(z[1, 1].numpy(), one.numpy(), atol=1e-7)


def test_spoiling(tmp_path):
    tip, alone = pulse(250.0, 1e-3), (pp.make_trapezoid("z", area=1000, duration=4e-3, system=SCANNER.opts),)
    three = tuple(pp.make_trapezoid(axis, area=1000, duration=4e-3, system=SCANNER.opts) for axis in "xyz")
    quiet = model_of(t1=100.0, t2=100.0)

    def z(gradients, **settings):
        return simulate(played(tmp_path, tip, gradients, tip, SAMPLES), quiet, **settings)[0].item()

    assert z(delay(4e-3)) == pytest.approx(-1, abs=1e-3)  # 90 + 90 degrees
    assert z(alone) == pytest.approx(0, abs=1e-3)
    assert z(delay(4e-3), spoiled=True) == pytest.approx(0, abs=1e-3)
    assert z(alone, mode="pulseq_cest") == pytest.approx(-1, abs=1e-3)
    assert z(three, mode="pulseq_cest") == pytest.approx(0, abs=1e-3)


def test_isochromats_are_dephased_by_gradients(tmp_path):
    """90 degrees, a turn by 2 pi k z and 90 degrees about the same axis leave -cos(2 pi k z) of z."""
    tip, area, quiet = pulse(250.0, 1e-3), 100.0, model_of(t1=1e4, t2=1e4)
    gradient = (pp.make_trapezoid("z", area=area, duration=4e-3, system=SCANNER.opts),)
    seq = played(tmp_path, tip, gradient, tip, SAMPLES)
    place = np.linspace(-4e-3, 5e-3, 7)
    each = [simulate(seq, quiet, isochromats=np.array([[0.01, 0, z]]))[0].item() for z in place]
    np.testing.assert_allclose(each, -np.cos(2 * math.pi * area * place), rtol=0, atol=1e-4)
    positions = np.stack((0 * place, 0 * place, place), 1)
    assert simulate(seq, quiet, isochromats=positions)[0].item() == pytest.approx(np.mean(each), abs=1e-12)


def test_strong_gradients_spoil_isochromats_ideally(tmp_path):
    """But for echoes, which T2 ends here."""
    three = tuple(pp.make_trapezoid(axis, area=2000, duration=5e-3, system=SCANNER.opts) for axis in "xyz")
    blocks = [pulse(120.0, 1e-3, phase=n**2) for n in range(6)]
    seq = played(tmp_path, *(part for block in blocks for part in (block, three, delay(0.1))), SAMPLES)
    model = model_of(AMIDE, t2=0.01)
    positions = np.random.default_rng(0).uniform(-2.5e-3, 2.5e-3, (400, 3))
    simulated, ideal = simulate(seq, model, isochromats=positions), simulate(seq, model)
    np.testing.assert_allclose(simulated.numpy(), ideal.numpy(), rtol=0, atol=1e-5)


def test_excitations_carry_magnetisation_through_the_scan(tmp_path):
    """A train of spoiled excitations by 15 degrees after an inversion, in closed form."""
    angle, spacing, t1 = math.radians(15), 20e-3, 0.9
    tip = pulse(15 / 360 / 1e-4, 1e-4)
    spoiler = (pp.make_trapezoid("z", area=1000, duration=4e-3, system=SCANNER.opts),)
    filled = pp.calc_duration(*tip) + pp.calc_duration(*SAMPLES) + pp.calc_duration(*spoiler)
    blocks = [pulse(0.5 / 1e-4, 1e-4), spoiler] + [tip, SAMPLES, spoiler, delay(spacing - filled)] * 10
    seq = played(tmp_path, *blocks)
    signal, block = excited(seq, model_of(t1=t1, t2=1e3))
    assert block.tolist() == list(range(2, len(seq), 4))
    z, decay, expected = -1.0, math.exp(-spacing / t1), []
    z = 1 - (1 - z) * math.exp(-4.2e-3 / t1)
    for _ in range(10):
        expected.append(math.sin(angle) * z)
        z = 1 - (1 - math.cos(angle) * z) * decay
    np.testing.assert_allclose(signal.imag.numpy(), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(signal.real.numpy(), 0, rtol=0, atol=1e-9)


def test_excitations_of_a_fingerprinting_scan(tmp_path):
    """Echo-planar readouts: one excitation for each measurement, as ideal spoiling has it at the pulses' ends."""
    protocol = Protocol(b1=(2e-6, 1e-6, 3e-6), saturation_time=(0.5,), readout="epi", recovery=(0.1,))
    path = tmp_path / "epi.seq"
    build(protocol, SCANNER).write(str(path))
    signal, block = excited(read_seq(path), model_of(AMIDE))
    assert len(block) == 3
    longitudinal = signal.abs() / math.sin(math.radians(15))
    assert torch.all((longitudinal > 0.1) & (longitudinal < 1))


def test_what_is_refused(tmp_path):
    seq = spectrum(tmp_path, [0.5])
    with pytest.raises(ProtocolError, match=r"amide\.f' is unknown"):
        simulate(seq, model_of(AMIDE), {"amide.f": torch.ones(1)})
    with pytest.raises(ShapeError, match=r"t1 \(2,\), t2 \(3,\)"):
        simulate(seq, model_of(), {"t1": torch.ones(2), "t2": torch.ones(3)})
    with pytest.raises(ProtocolError, match="give one of physical, pulseq_cest"):
        simulate(seq, model_of(), mode="literal")
    with pytest.raises(ProtocolError, match="leave out isochromats"):
        simulate(seq, model_of(), mode="pulseq_cest", isochromats=np.zeros((1, 3)))
    with pytest.raises(ShapeError, match=r"isochromats \(3,\)"):
        simulate(seq, model_of(), isochromats=np.zeros(3))
    with pytest.raises(ProtocolError, match="nothing is measured"):
        simulate(played(tmp_path, pulse(100.0, 1e-3)), model_of())
    seq.definitions["B0"] = 7.0
    with pytest.raises(MismatchError, match="B0 = 7"):
        simulate(seq, model_of())
