"""Finite pulses in graphs: against isochromats that play the pulses, closed forms and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.sim.graph_build import build_graph
from pulsetwin.sim.isochromats import simulate_isochromats, two_seed_error
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.pulse_rotations import PulseRotations, pulse_rotations
from pulsetwin.sim.pulse_turns import Steps, batched_turns, fused_turns, steps_of
from pulsetwin.sim.rotations import pulse_maps
from pulsetwin.sim.timeline import PulseShape, Timeline, equal_readouts
from pulsetwin.sim.timeline_from_seq import timeline_from_seq
from tests.sim import graph_cases as cases

F64, C128 = torch.float64, torch.complex128
THICK = 5e-3


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shape_of(wave: Tensor, duration: float, gradient: float = 0.0, flip: float | None = None) -> PulseShape:
    """Segments of equal length of a wave, scaled to `flip` if given, else in Hz and taken for 180 degrees."""
    step = duration / len(wave)
    if flip is not None:
        wave = wave * flip / (math.tau * abs(wave.sum()) * step)
    moment = torch.zeros(len(wave), 3, dtype=F64)
    moment[:, 2] = gradient
    span = torch.full((len(wave),), step, dtype=F64)
    return PulseShape(span, wave.to(C128), moment, duration / 2, flip or math.pi)


def sinc(duration: float, flip: float, *, count: int = 100, lobes: float = 4.0, thickness: float = THICK) -> PulseShape:
    """A sinc of time-bandwidth product `lobes` under a Hamming window, that selects a slice along z."""
    t = (torch.arange(count, dtype=F64) + 0.5) / count - 0.5
    wave = torch.sinc(lobes * t) * (0.54 + 0.46 * torch.cos(math.tau * t))
    return shape_of(wave, duration, lobes / duration / thickness, flip)


def secant(duration: float = 8e-3, count: int = 400, peak: float = 900.0) -> PulseShape:
    """A hyperbolic secant, which inverts adiabatically a band of 1 kHz."""
    beta, sweep = 5.3 / (duration / 2), 5.0
    t = ((torch.arange(count, dtype=F64) + 0.5) / count - 0.5) * duration
    envelope = 1 / torch.cosh(beta * t)
    return shape_of(peak * torch.polar(envelope, -sweep * torch.log(envelope)), duration)


def played(*parts: tuple) -> Timeline:
    """Timeline of pulses ``(shape, flip, phase, frequency)`` and intervals ``(duration, moment, sampled)``."""
    shapes = list({id(part[0]): part[0] for part in parts if isinstance(part[0], PulseShape)}.values())
    pulses, rows, starts = [], [], []
    for part in parts:
        if not isinstance(part[0], PulseShape):
            rows.append((*part, False))
            continue
        shape = part[0]
        ends = torch.cat((torch.zeros(1, dtype=F64), shape.duration.cumsum(0)))
        before = ends.clamp(max=shape.center).diff() @ shape.gradient.detach()
        after = shape.duration @ shape.gradient.detach() - before
        rows.append((shape.center, before, False, True))
        starts.append(len(rows))
        rows.append((float(ends[-1]) - shape.center, after, False, True))
        pulses.append((next(i for i, one in enumerate(shapes) if one is shape), *part[1:]))
    rows, starts = rows[starts[0] :], torch.tensor([*starts, len(rows)]) - starts[0]
    index, flip, phase, frequency = (torch.tensor(column) for column in zip(*pulses, strict=True))
    duration = torch.tensor([row[0] for row in rows], dtype=F64)
    moment = torch.stack([torch.as_tensor(row[1], dtype=F64) for row in rows])
    taken = torch.tensor([i for i, row in enumerate(rows) if row[2]])
    owner = torch.searchsorted(starts, taken, right=True)
    ends = torch.cat((torch.nonzero(owner.diff(prepend=owner.new_zeros(1)))[:, 0], torch.tensor([len(taken)])))
    return Timeline(
        flip_angle=flip.double(), phase=phase.double(), frequency=frequency.double(), shape=index,
        shapes=tuple(shapes), duration=duration, moment=moment, in_pulse=torch.tensor([row[3] for row in rows]),
        interval_start=starts, sample_interval=taken, sample_phase=torch.zeros(len(taken), dtype=F64),
        readout_start=ends, readout_shape=equal_readouts(duration, moment, taken, ends),
    )  # fmt: skip


def along_z(moment: float) -> tuple[float, float, float]:
    return (0.0, 0.0, moment)


def readout(count: int = 12, step: float = 25.0) -> list[tuple]:
    """Samples from k = -count step / 2 on, along z."""
    return [(5e-4, along_z(-step * count / 2), False)] + [(5e-5, along_z(step), True)] * count


def column(count: int = 64, *, size: float = 3e-4, seed: int = 0, relaxes: bool = False) -> Voxels:
    """Random voxels along z with two coils, without relaxation unless wanted."""
    random = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float, *more: int) -> Tensor:
        return low + (high - low) * torch.rand(*more, count, generator=random, dtype=F64)

    position = torch.zeros(count, 3, dtype=F64)
    position[:, 2] = (torch.arange(count) - count // 2) * size
    never = torch.full((count,), 1e6, dtype=F64)
    return Voxels(
        position=position, proton_density=draw(0.5, 1), t1=draw(0.5, 1.5) if relaxes else never,
        t2=draw(0.05, 0.15) if relaxes else never, t2_prime=torch.full((count,), torch.inf, dtype=F64),
        diffusion=torch.zeros(count, dtype=F64), b0=draw(-40, 40),
        b1=torch.polar(draw(0.8, 1.2, 1), draw(-0.5, 0.5, 1)), coils=torch.polar(draw(0.5, 1, 2), draw(-3, 3, 2)),
        size=(1e-3, 1e-3, size), shape="point",
    )  # fmt: skip


def spin_echo() -> Timeline:
    """Slice-selective excitation, moved by its carrier, and two refocusing pulses between crushers."""
    excitation, refocusing = sinc(2e-3, math.pi / 2), sinc(1.6e-3, math.pi, lobes=3, thickness=1.4 * THICK)
    shift = 1e-3
    carriers = [float(shape.gradient[0, 2]) * shift for shape in (excitation, refocusing)]
    rephaser = (5e-4, along_z(-float(excitation.gradient[0, 2]) * 1e-3), False)
    crusher = (5e-4, along_z(700.0), False)
    wait, back = (1e-3, along_z(0.0), False), (1e-3, along_z(-150.0), False)
    train = []
    for phase in (math.pi / 2, 0.3):
        train += [crusher, (refocusing, math.pi, phase, carriers[1]), crusher, *readout(), back]
    return played((excitation, math.pi / 2, 0.4, carriers[0]), rephaser, wait, *train)


def fat_saturation() -> Timeline:
    """A selective pulse on fat and a spoiler before a slice-selective excitation, twice."""
    t = (torch.arange(80, dtype=F64) + 0.5) / 80 - 0.5
    saturation = shape_of(torch.exp(-((t / 0.22) ** 2)), 8e-3, 0.0, 1.7)
    excitation = sinc(2e-3, 0.8)
    rephaser = (5e-4, along_z(-float(excitation.gradient[0, 2]) * 1e-3), False)
    spoiler = (2e-3, along_z(900.0), False)
    parts: list[tuple] = []
    for phase in (0.0, 1.1):
        parts += [(saturation, 1.7, phase, -430.0), spoiler, (excitation, 0.8, 2 * phase, 0.0), rephaser, *readout()]
        parts += [(3e-3, along_z(400.0), False)]
    return played(*parts)


def inversion() -> Timeline:
    """An adiabatic inversion, a spoiler and an excitation."""
    excitation = sinc(2e-3, 1.0)
    rephaser = (5e-4, along_z(-float(excitation.gradient[0, 2]) * 1e-3), False)
    return played(
        (secant(), math.pi, 0.2, 60.0), (5e-3, along_z(300.0), False), (excitation, 1.0, 0.7, 0.0), rephaser, *readout()
    )


def with_fat(voxels: Voxels) -> Voxels:
    """Every third voxel precesses as fat."""
    fat = torch.arange(len(voxels)) % 3 == 0
    return replace(voxels, b0=torch.where(fat, voxels.b0 - 430, voxels.b0))


def graphs(line: Timeline, voxels: Voxels, **options) -> Tensor:
    rotations = pulse_rotations(line, voxels, tolerance=options.pop("tolerance", 1e-9))
    return simulate_graphs(line, voxels, dtype=C128, rotations=rotations, **options).signal


def difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


SEQUENCES = {"spin echo": spin_echo, "fat saturation": fat_saturation, "inversion": inversion}


@pytest.mark.parametrize("name", SEQUENCES)
def test_graphs_equal_isochromats_that_play_the_pulses(name):
    """Spins at points without relaxation: what remains is what the isochromats' steps leave, 1e-5 a pulse."""
    line, voxels = SEQUENCES[name](), with_fat(column())
    expected = simulate_isochromats(line, voxels, spins=1)
    assert difference(graphs(line, voxels), expected) < 2e-5
    instant = simulate_graphs(line, voxels, dtype=C128).signal
    assert difference(instant, expected) > 0.1


def test_a_real_scan_equals_isochromats(scans):
    """Fat saturation and slice-selective excitations, 15 000 segments that isochromats join to an error of 1e-5."""
    line, voxels = timeline_from_seq(scans / "pulseq_epi" / "basic_epi_pe_none.seq"), with_fat(column(32))
    expected = simulate_isochromats(line, voxels, spins=1)
    assert difference(graphs(line, voxels), expected) < 1e-4
    assert difference(simulate_graphs(line, voxels, dtype=C128).signal, expected) > 0.1


@pytest.mark.parametrize(("smooth", "bound"), [(True, 0.01), (False, 0.08)], ids=["smooth", "rough"])
def test_the_error_of_filled_voxels_falls_with_their_size(smooth, bound):
    """Rotations vary within a voxel, which graphs leave out: here a 17th and a 33rd of the slice's thickness."""
    line, errors = spin_echo(), []
    for count, size in ((64, 3e-4), (128, 1.5e-4)):
        voxels = replace(column(count, size=size), shape="box")
        if smooth:
            even = {name: torch.ones_like(getattr(voxels, name)) for name in ("proton_density", "b0", "b1", "coils")}
            voxels = replace(voxels, **even)
        expected, noise = two_seed_error(line, voxels, spins=256)
        errors.append(difference(graphs(line, voxels), expected))
        assert noise < 0.15 * errors[0]
    assert errors[0] < bound
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("name", SEQUENCES)
def test_relaxation_during_pulses_is_of_first_order(name):
    line, errors = SEQUENCES[name](), []
    for factor in (1.0, 2.0, 4.0):
        voxels = with_fat(column(relaxes=True))
        voxels = replace(voxels, t1=factor * voxels.t1, t2=factor * voxels.t2)
        errors.append(difference(graphs(line, voxels), simulate_isochromats(line, voxels, spins=1)))
    assert errors[0] < 0.02
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < 0.6 * errors[1]


def test_single_precision_is_near():
    line, voxels = spin_echo(), column()
    rotations = pulse_rotations(line, voxels)
    single = simulate_graphs(line, voxels, rotations=rotations)
    assert single.signal.dtype == torch.complex64
    assert difference(single.signal.to(C128), graphs(line, voxels)) < 2e-5


def test_a_short_hard_pulse_is_an_instantaneous_one():
    """Two channels with shims, B0 and a gradient, none of which acts in 1 ps."""
    voxels, short = cases.row_of_voxels(16, channels=2), shape_of(torch.ones(1, dtype=C128), 1e-12, 1e3, 0.9)
    line = cases.unstructured(5, 3)
    shim = torch.polar(torch.linspace(0.5, 1, 10, dtype=F64), torch.linspace(0, 2, 10, dtype=F64)).reshape(5, 2)
    line = replace(line, shapes=(short,), shape=torch.tensor([0, 0, -1, 0, 0]), shim=shim)
    rotations = pulse_rotations(line, voxels)
    field, angle = shim @ voxels.b1, line.flip_angle[:, None]
    wanted = torch.cos(angle * field.abs() / 2), -1j * torch.sin(angle * field.abs() / 2) * field / field.abs()
    assert rotations.table.tolist() == [0, 1, -1, 2, 3]
    for found, value in zip((rotations.alpha, rotations.beta), wanted, strict=True):
        assert (found - value[[0, 1, 3, 4]]).abs().max() < 1e-10
    found = simulate_graphs(line, voxels, dtype=C128, rotations=rotations).signal
    assert difference(found, simulate_graphs(line, voxels, dtype=C128).signal) < 1e-10
    assert difference(found, cases.spins(line, voxels)) < 1e-10


def test_rotations_between_free_precessions_are_the_map_of_the_pulse():
    """Centre off the middle, carrier, gradient ramps, two channels with waveforms of their own."""
    random = torch.Generator().manual_seed(1)
    count, voxels = 40, replace(column(30), b0=torch.linspace(-300, 300, 30, dtype=F64))
    voxels = replace(voxels, b1=torch.cat((voxels.b1, 0.4j * voxels.b1.conj())))
    gradient = 2e4 * torch.rand(count, 3, generator=random, dtype=F64)
    span = 1e-5 + 2e-5 * torch.rand(count, generator=random, dtype=F64)
    wave = 400 * torch.randn(count, 2, generator=random, dtype=C128)
    shape = PulseShape(span, wave, gradient, 0.3 * float(span.sum()), 1.1)
    line = played((shape, 0.8, 0.0, 150.0), (1e-3, along_z(0), True))
    rotations = pulse_rotations(line, voxels, tolerance=1e-10)
    matrix, _ = pulse_maps(
        shape,
        offset=voxels.b0,
        position=voxels.position,
        b1=voxels.b1,
        flip_angle=0.8,
        frequency=150.0,
        tolerance=1e-10,
    )
    ends = torch.cat((torch.zeros(1, dtype=F64), span.cumsum(0)))
    before = ends.clamp(max=shape.center).diff()
    first, second = (
        torch.exp(-2j * torch.pi * (voxels.position @ (part @ gradient) + voxels.b0 * part.sum()))
        for part in (before, span - before)
    )
    alpha, beta = rotations.alpha[0], rotations.beta[0]
    x, y = torch.complex(matrix[:, 0], matrix[:, 1]).unbind(1)[:2]
    assert torch.allclose((x - 1j * y) / 2, second * first * alpha.conj() ** 2, atol=1e-8)
    assert torch.allclose((x + 1j * y) / 2, -second * first.conj() * beta**2, atol=1e-8)
    assert torch.allclose(torch.complex(matrix[:, 0, 2], matrix[:, 1, 2]), 2 * second * alpha.conj() * beta, atol=1e-8)
    assert torch.allclose(matrix[:, 2, 2], alpha.abs() ** 2 - beta.abs() ** 2, atol=1e-8)


def test_small_flip_angles_give_the_fourier_transform_of_the_envelope():
    shape, voxels = sinc(2e-3, 1e-3, count=200), column(128, size=1e-4)
    voxels = replace(voxels, b0=0 * voxels.b0, b1=torch.ones_like(voxels.b1))
    rotations = pulse_rotations(played((shape, 1e-3, 0.0, 0.0), (1e-3, along_z(0), True)), voxels, tolerance=1e-12)
    time = shape.duration.cumsum(0) - shape.duration / 2 - shape.center
    offset = voxels.position[:, 2:] * shape.gradient[0, 2]
    envelope = torch.sinc(offset * shape.duration) * torch.exp(2j * torch.pi * offset * time)
    wanted = -1j * math.pi * envelope @ (shape.b1 * shape.duration)
    assert (rotations.beta[0] - wanted).abs().max() < 1e-9
    assert wanted.abs().max() > 4.9e-4
    assert (rotations.alpha - 1).abs().max() < 1e-6


def test_pulses_that_differ_in_phase_share_a_rotation():
    shape, rest = sinc(2e-3, 0.2), (4e-3, along_z(100.0), True)
    phases = [0.0, 0.7, 2.1]
    line = played(
        *(part for phase in phases for part in ((shape, 0.2, phase, 40.0), rest)), (shape, 0.3, 0.0, 40.0), rest
    )
    voxels = column(8)
    rotations = pulse_rotations(line, voxels)
    assert rotations.table.tolist() == [0, 0, 0, 1]
    assert rotations.alpha.shape == rotations.beta.shape == (2, 8)
    turned = pulse_rotations(replace(line, flip_angle=line.flip_angle.requires_grad_()), voxels)
    assert turned.table.tolist() == [0, 1, 2, 3]


def test_equal_pulses_have_gradients_of_their_own():
    shape = sinc(1e-3, 0.5, count=10)
    rest = (4e-3, along_z(100.0), True)
    line, voxels = played(*[(shape, 0.5, 0.3, 0.0), rest] * 3), column(6)

    def total(flip: Tensor) -> Tensor:
        return graphs(replace(line, flip_angle=flip), voxels).abs().square().sum()

    flip = line.flip_angle.clone().requires_grad_()
    (slope,) = torch.autograd.grad(total(flip), flip)
    for pulse in range(3):
        step = 1e-5 * torch.nn.functional.one_hot(torch.tensor(pulse), 3)
        numeric = (total(line.flip_angle + step) - total(line.flip_angle - step)) / 2e-5
        assert float(slope[pulse]) == pytest.approx(float(numeric), rel=1e-6)


NAMES = ("b1", "b0", "position", "flip_angle", "frequency", "shape.b1", "shape.gradient")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tolerance", [1e-9, 0.1], ids=["apart", "joined"])
def test_gradients_against_finite_differences(name, tolerance):
    shape, voxels = sinc(1e-3, 1.5, count=12), replace(column(4), position=column(4).position * 4)
    line = played(
        (shape, 1.5, 0.2, 100.0), (4e-3, along_z(50.0), True), (shape, 1.2, 0.9, 0.0), (4e-3, along_z(80.0), True)
    )

    def changed(value: Tensor) -> tuple[Timeline, Voxels]:
        if name.startswith("shape."):
            return replace(line, shapes=(replace(shape, **{name[6:]: value}),)), voxels
        if name in ("flip_angle", "frequency"):
            return replace(line, **{name: value}), voxels
        return line, replace(voxels, **{name: value})

    def turned(value: Tensor) -> tuple[Tensor, Tensor]:
        rotations = pulse_rotations(*changed(value), tolerance=tolerance)
        return torch.view_as_real(rotations.alpha), torch.view_as_real(rotations.beta)

    def signal(value: Tensor) -> Tensor:
        there = changed(value)
        rotations = pulse_rotations(*there, tolerance=tolerance)
        found = simulate_graphs(*there, dtype=C128, rotations=rotations, graph=graph).signal
        return torch.view_as_real(found)

    owner = shape if name.startswith("shape.") else line if name in ("flip_angle", "frequency") else voxels
    value = getattr(owner, name.removeprefix("shape.")).clone().requires_grad_()
    graph = build_graph(line, voxels, rotations=pulse_rotations(line, voxels))
    step = 1e-6 * float(value.detach().abs().max())
    assert torch.autograd.gradcheck(turned, (value,), eps=step, atol=1e-11 / step, rtol=1e-5, fast_mode=True)
    assert torch.autograd.gradcheck(signal, (value,), eps=step, atol=1e-11 / step, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("name", ["flip_angle", "b1"])
def test_pulses_of_no_flip_angle_have_gradients(name):
    """At 0 the slope of beta is the Fourier transform of the envelope, whatever the offset."""
    shape, voxels = sinc(2e-3, 1.0, count=50), column(40)
    line = played((shape, 1.0, 0.0, 0.0), (1e-3, along_z(0), True))
    value = torch.zeros_like(line.flip_angle if name == "flip_angle" else shape.b1, requires_grad=True)
    if name == "flip_angle":
        line = replace(line, flip_angle=value)
    else:
        line = replace(line, shapes=(replace(shape, b1=value),))
    weight = torch.randn(40, generator=torch.Generator().manual_seed(4), dtype=C128)
    (slope,) = torch.autograd.grad((weight.conj() * pulse_rotations(line, voxels).beta[0]).real.sum(), value)
    time = shape.duration.cumsum(0) - shape.duration / 2 - shape.center
    offset = voxels.position[:, 2:] * shape.gradient[0, 2] + voxels.b0[:, None]
    through = -1j * math.pi * torch.sinc(offset * shape.duration) * torch.exp(2j * torch.pi * offset * time)
    through = through * shape.duration * voxels.b1[0, :, None]
    wanted = (weight.conj() * (through @ shape.b1)).real.sum()[None] if name == "flip_angle" else through.mH @ weight
    assert (slope - wanted).norm() < 1e-4 * wanted.norm()


@pytest.mark.parametrize("tolerance", [1e-9, 30.0], ids=["apart", "joined"])
def test_kernels_and_batched_operations_agree(tolerance, monkeypatch):
    """Values and gradients, with two channels of their own waveforms, and voxels that fill no block of either."""
    monkeypatch.setattr("pulsetwin.sim.pulse_turns._ELEMENTS", 1500)
    random = torch.Generator().manual_seed(2)
    place = torch.randn(4, 150, generator=random, dtype=F64) * torch.tensor([[2e-3], [2e-3], [2e-3], [200.0]])
    shape, field = sinc(1e-3, 1.2, count=30), torch.randn(2, 150, generator=random, dtype=C128)
    place[:, 7], field[:, 7] = 0.0, 0.0  # nothing turns here
    shape = replace(shape, b1=torch.stack((shape.b1, 0.3j * shape.b1 + 40), 1))
    steps = steps_of(shape, place, field, tolerance)
    assert steps.joined == (tolerance > 1)
    weight = torch.randn(2, 150, generator=random, dtype=C128)

    def found(turns: Callable[..., tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
        leaves = [value.clone().requires_grad_() for value in (steps.turn, steps.wave, place, field)]
        turned = torch.stack(turns(Steps(leaves[0], leaves[1], steps.joined), leaves[2], leaves[3]))
        slopes = torch.autograd.grad((weight.conj() * turned).real.sum(), leaves)
        if steps.joined:
            return turned.detach(), *slopes
        return turned.detach(), slopes[0][:, :4], slopes[1][..., 0], *slopes[2:]

    for fused, batched in zip(found(fused_turns), found(batched_turns), strict=True):
        assert (fused - batched).norm() < 1e-11 * batched.norm()


def test_a_slice_that_covers_few_voxels_makes_weak_states():
    line, thin = spin_echo(), column(64)
    wide = replace(thin, position=thin.position * 0.05)
    weights = []
    for voxels in (thin, wide):
        graph = build_graph(line, voxels, rotations=pulse_rotations(line, voxels))
        weights.append(float(graph.weight[graph.plus_start[1] : graph.row_start[2]].max()))
    assert weights[0] == pytest.approx(math.sqrt(5 / 19.2), rel=0.15)  # of the column, within the slice
    assert weights[1] > 0.95


def test_what_cannot_be_simulated_is_refused():
    shape, rest = sinc(2e-3, 0.2), (4e-3, along_z(100.0), True)
    line, voxels = played((shape, 0.2, 0.0, 0.0), rest, (shape, 0.2, 0.0, 0.0), rest), column(8)
    rotations = pulse_rotations(line, voxels)
    with pytest.raises(MismatchError, match="8 voxels for 2 pulses and 9 voxels"):
        simulate_graphs(line, column(9), rotations=rotations)
    with pytest.raises(ProtocolError, match="overlap"):
        pulse_rotations(replace(line, duration=line.duration / 4), voxels)
    with pytest.raises(ProtocolError, match="sample 0 lies within"):
        pulse_rotations(replace(line, in_pulse=torch.ones_like(line.in_pulse)), voxels)
    with pytest.raises(ProtocolError, match="flip angle of 0"):
        pulse_rotations(replace(line, shapes=(replace(shape, flip_angle=0.0),)), voxels)
    with pytest.raises(MismatchError, match=r"\[3\] channels"):
        pulse_rotations(replace(line, shim=torch.ones(2, 3, dtype=C128)), voxels)


def test_instantaneous_pulses_have_no_rotation():
    line, voxels = cases.flash(), cases.row_of_voxels(8)
    rotations = pulse_rotations(line, voxels)
    assert isinstance(rotations, PulseRotations)
    assert rotations.alpha.shape == (0, 8)
    assert rotations.table.tolist() == [-1] * line.pulses
    found = simulate_graphs(line, voxels, dtype=C128, rotations=rotations).signal
    assert difference(found, cases.spins(line, voxels)) < 1e-10
