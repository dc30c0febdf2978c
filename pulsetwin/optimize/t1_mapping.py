"""Images of an inversion recovery, and how far the T1 that a network reads from them is from the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from pulsetwin.operators.fft import ifft
from pulsetwin.optimize.inversion_recovery import inversion_recovery
from pulsetwin.optimize.joint import Turn
from pulsetwin.optimize.loop import Loss, LossFunction
from pulsetwin.optimize.network_weights import PREFIX, weight_parameters, weights_of
from pulsetwin.optimize.parameters import Parameter
from pulsetwin.optimize.penalties import duration
from pulsetwin.optimize.schemes import Scheme, centric_lines
from pulsetwin.optimize.settings import in_radians
from pulsetwin.optimize.t1_experiment import T1Experiment
from pulsetwin.recon.image_network import ImageNetwork
from pulsetwin.recon.t1_network import new_t1_network, told_t1
from pulsetwin.sim.pdg import simulate_graphs
from pulsetwin.sim.phantom import Phantom
from pulsetwin.sim.phantom_rectangle import T1_RANGE, random_rectangle
from pulsetwin.sim.phantom_tissue import Tissue, brain_tissues
from pulsetwin.sim.signal_models.inversion_recovery import signals

_DECAY = 0.03  # of rates, within a turn
_VOXELS = 1024  # of a step without images


@dataclass(frozen=True, slots=True, eq=False)
class T1Problem:
    """What an experiment learns.

    Parameters
    ----------
    experiment
        Its settings.
    scheme
        The sequence.
    network
        What it starts with.
    parameters
        What is learnt: values of the sequence by their names, weights as ``network.NAME``.
    noise
        Standard deviation of the real and of the imaginary part of an image.
    """

    experiment: T1Experiment
    scheme: Scheme
    network: ImageNetwork
    parameters: dict[str, Parameter]
    noise: float

    @property
    def turns(self) -> list[Turn]:
        """Sequence and network together by voxels, then the network by images, then both in turns by images."""
        own, free = self.experiment.turns, self.experiment.learn.free
        weights = tuple(name for name in self.parameters if name.startswith(PREFIX))
        turns = [Turn((*free, *weights), own.voxels, own.rate, _DECAY), Turn(weights, own.images, own.rate, _DECAY)]
        for _ in range(own.rounds):
            turns.append(Turn(free, own.sequence_steps, own.rate / 10))
            turns.append(Turn(weights, own.network_steps, own.rate / 3, _DECAY))
        return [turn for turn in turns if turn.steps]

    def loss_of(self, turn: int, fixed: dict[str, Tensor]) -> LossFunction:
        """Return the loss of a turn, as `joint.learn_in_turns` takes it."""
        if not fixed:
            return self._loss_of_voxels
        if any(name in fixed for name in self.experiment.learn.free):
            generator = torch.Generator().manual_seed(1_000 * self.experiment.turns.seed + turn)
            return self._loss_of_network(fixed, generator)
        return self._loss_of_sequence(fixed)

    def _loss_of_voxels(self, values: dict[str, Tensor], step: int, generator: torch.Generator) -> Loss:
        """Return the loss of sequence and network by signals of voxels in closed form, and of the time they take."""
        share = torch.rand((2, _VOXELS), generator=generator, dtype=torch.float64)
        t1, density = T1_RANGE[0] * (T1_RANGE[1] / T1_RANGE[0]) ** share[0], 0.3 + 1.2 * share[1]
        every = self.scheme.values | values
        settings = {
            "flip_angle": every["flip_angle"],
            "tr": self.experiment.sequence.tr,
            "pulses": self.scheme.matrix[0],
        }
        course = density[:, None] * signals(t1, every["inversion_time"], every["recovery"], **settings)
        images = course.T.to(torch.complex64)[:, None, None]
        return self._with_time(self.error(images, t1, weights_of(values), generator), values)

    def _with_time(self, error: Tensor, values: Mapping[str, Tensor]) -> Loss:
        """Return the loss of an error of T1 and of the time that the sequence takes."""
        time = duration(self.scheme.timeline(values))
        total = error + self.experiment.learn.time * time
        return Loss(total, {"error": error.detach().sqrt(), "time": time.detach()})

    def _loss_of_network(self, fixed: dict[str, Tensor], generator: torch.Generator) -> LossFunction:
        """Return the loss of weights: the images are those of one sequence, their noise is new in each step."""
        maps = [self.example(generator) for _ in range(self.experiment.examples.maps)]
        with torch.no_grad():
            images = torch.stack([self.square(self.images(fixed, one)) for one in maps], 1)
        truth = torch.cat([self.square(one.t1) for one in maps])

        def loss(values: dict[str, Tensor], step: int, generator: torch.Generator) -> Loss:
            error = self.error(images, truth, weights_of(values), generator)
            return Loss(error, {"error": error.detach().sqrt()})

        return loss

    def _loss_of_sequence(self, fixed: dict[str, Tensor]) -> LossFunction:
        """Return the loss of values of the sequence, of a new map in each step, and of the time they take."""

        def loss(values: dict[str, Tensor], step: int, generator: torch.Generator) -> Loss:
            phantom = self.example(generator)
            images = self.square(self.images(values, phantom))[:, None]
            error = self.error(images, self.square(phantom.t1), weights_of(fixed), generator)
            return self._with_time(error, values)

        return loss

    def error(self, images: Tensor, truth: Tensor, weights: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """Return the mean square of ``log(T1 / true T1)`` of noisy images ``[image, map, y, x]``."""
        noisy = images + self.noise * complex_noise(images.shape, generator)
        return (told_t1(self.network, noisy, weights) / truth).log().square().mean()

    def images(self, values: Mapping[str, Tensor], phantom: Phantom) -> Tensor:
        """Return the images of a phantom without noise, complex ``[image, y, x]``, differentiable in the values."""
        timeline = self.scheme.timeline(values)
        signal = simulate_graphs(timeline, phantom.voxels(), max_states=self.experiment.turns.states).signal[0]
        return self.reconstructed(signal)

    def reconstructed(self, signal: Tensor) -> Tensor:
        """Return the images of a signal ``[sample]``: the transverse magnetisation, complex ``[image, y, x]``."""
        matrix = self.scheme.matrix[0]
        lines = torch.argsort(centric_lines(matrix))
        kspace = signal.to(torch.complex64).reshape(-1, matrix, matrix)[:, lines]
        return ifft(kspace, (1, 2)) / matrix

    def example(self, generator: torch.Generator) -> Phantom:
        """Return a random map to learn from."""
        seed = int(torch.randint(2**31, (), generator=generator))
        matrix = (1, *self.scheme.matrix)
        return random_rectangle(matrix, self.scheme.fov, edge=self.experiment.examples.edge, seed=seed)

    def square(self, values: Tensor) -> Tensor:
        """Return what lies within the rectangle of values ``[..., y, x]``."""
        edge, matrix = self.experiment.examples.edge, self.scheme.matrix[0]
        inside = slice((matrix - edge) // 2, (matrix - edge) // 2 + edge)
        return values[..., inside, inside]


def t1_problem_of(experiment: T1Experiment) -> T1Problem:
    """Return the problem that an experiment describes.

    Raises
    ------
    ProtocolError
        If the readout does not fit.
    """
    scheme = inversion_recovery(**in_radians(experiment.sequence))
    network = new_t1_network(experiment.sequence.images, **asdict(experiment.network), seed=experiment.turns.seed)
    bounds = {name: scheme.bounds[name] for name in experiment.learn.free}
    parameters = {
        name: Parameter(scheme.values[name], own.low, own.high, own.scale) for name, own in bounds.items()
    } | weight_parameters(network)
    signal = tissue_signal(math.radians(experiment.sequence.flip_angle), experiment.sequence.te)
    return T1Problem(experiment, scheme, network, parameters, signal / experiment.examples.snr)


def tissue_signal(flip_angle: float, te: float) -> float:
    """Return the signal of brain at 3 T that is excited at equilibrium, mean of grey and white matter."""

    def signal(tissue: Tissue) -> float:
        return tissue.proton_density * math.exp(-te / tissue.t2 - te / tissue.t2_prime)

    tissues = brain_tissues(3.0)
    return math.sin(flip_angle) * (signal(tissues["grey"]) + signal(tissues["white"])) / 2


def complex_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return noise whose real and imaginary parts have a standard deviation of 1, complex64."""
    return math.sqrt(2) * torch.randn(shape, generator=generator, dtype=torch.complex64)
