"""The loss of an experiment: a sequence of values plays on phantoms, and images are compared with the target's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError
from pulsetwin.operators.nufft import Nufft
from pulsetwin.optimize.engine import Engine, choose_engine
from pulsetwin.optimize.experiment import SPARSE, Experiment, GradientEchoes, scheme_of
from pulsetwin.optimize.gradient_bounds import gradient_bounds, require_within
from pulsetwin.optimize.loop import Loss
from pulsetwin.optimize.losses import contrast_errors, dissimilarity, relative_l1, relative_l2
from pulsetwin.optimize.nerve_stimulation import nerve_excess, nerve_peak
from pulsetwin.optimize.network_weights import PREFIX, weight_parameters, weights_of
from pulsetwin.optimize.objects import phantom_of, tissue_weights, voxels_of
from pulsetwin.optimize.parameters import Parameter
from pulsetwin.optimize.penalties import flip_power, gradient_excess, roughness, slew_excess, uncovered
from pulsetwin.optimize.reconstruct import sampled_kspace
from pulsetwin.optimize.schemes import Scheme
from pulsetwin.optimize.steady import mean_magnetisation, steady_signal
from pulsetwin.recon.direct_images import direct_image, encoding
from pulsetwin.recon.image_network import ImageNetwork
from pulsetwin.recon.image_repair import new_repair_network, purpose_of, repaired
from pulsetwin.scanner import Scanner
from pulsetwin.sim.phantom import Voxels
from pulsetwin.sim.timeline import Timeline

_SLACK = 0.01  # of a limit, within which an augmented Lagrangian has come close enough


@dataclass(frozen=True, slots=True, eq=False)
class Imaged:
    """A phantom, what the target sequence measures of it, and weights of its tissues ``[tissue, y, x]`` or None."""

    voxels: Voxels
    signal: Tensor
    image: Tensor
    tissues: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What an experiment makes small.

    Parameters
    ----------
    experiment
        Its settings.
    scheme
        The sequence.
    target
        That of the target, which may have more readouts.
    parameters
        What is learnt: values of the sequence by their names, weights as ``network.NAME``.
    scanner
        Whose limits count.
    engine
        What plays the sequences.
    network
        What repairs the images, as it starts, or None.
    weights
        Of the network, by name, instead of its own.
    still
        The phantoms that stay the same in all steps.
    """

    experiment: Experiment
    scheme: Scheme
    target: Scheme
    parameters: dict[str, Parameter]
    scanner: Scanner
    engine: Engine
    network: ImageNetwork | None = None
    weights: Mapping[str, Tensor] | None = None
    still: tuple[Imaged, ...] = ()

    def timeline(self, values: Mapping[str, Tensor]) -> Timeline:
        """Return the sequence of learnt values."""
        return self.scheme.timeline(values)

    def repairing(self, values: Mapping[str, Tensor]) -> Problem:
        """Return the problem whose network has the weights among values; without one, the problem itself."""
        return self if self.network is None else replace(self, weights=weights_of(values, torch.float64))

    @property
    def of_target(self) -> Problem:
        """The problem with the sequence of the target, and no network."""
        return replace(self, scheme=self.target, network=None)

    def measured(self, timeline: Timeline, voxels: Voxels) -> tuple[Tensor, Tensor]:
        """Return signal ``[sample]`` and image ``[y, x]`` of a sequence."""
        signal = self.engine.signal(timeline, voxels)[0]
        return signal, self.image(timeline, signal)

    def image(self, timeline: Timeline, signal: Tensor) -> Tensor:
        """Return the image of a signal of a sequence, repaired where there is a network, ``[y, x]``."""
        target = self.experiment.target
        image = direct_image(signal, self.encoding(timeline), target.method, target.iterations)
        return image if self.network is None else repaired(self.network, image, self.weights)

    def learnt_network(self, values: Mapping[str, Tensor]) -> ImageNetwork | None:
        """Return the network of learnt values, with what reads raw data of their sequence, or None without one."""
        if self.network is None:
            return None
        scheme, target = self.scheme, self.experiment.target
        timeline = self.timeline(values)
        lines = sampled_kspace(timeline, scheme.refocusing).detach().unflatten(0, (len(timeline.readout_shape), -1))
        purpose = purpose_of(lines, timeline, scheme.fov, scheme.matrix, target.method, target.iterations)
        return replace(self.network.with_weights(weights_of(values)), purpose=purpose)

    def encoding(self, timeline: Timeline) -> Nufft:
        """Return the transform from images to samples of a sequence."""
        kspace = sampled_kspace(timeline, self.scheme.refocusing)
        return encoding(kspace, self.scheme.fov, self.scheme.matrix)

    def steady(self, timeline: Timeline, voxels: Voxels) -> Tensor:
        """Return the image before repair if the magnetisation were the same in all readouts, ``[y, x]``."""
        kspace = sampled_kspace(timeline, self.scheme.refocusing)
        mean = mean_magnetisation(timeline, voxels, kspace, self.engine.signal)
        return replace(self, network=None).image(timeline, steady_signal(mean, voxels, kspace))

    def relative_sar(self, timeline: Timeline) -> Tensor:
        """Return the sum of squared flip angles over that of the target sequence."""
        return flip_power(timeline.flip_angle) / flip_power(self.target.timeline().flip_angle)

    def loss(self, values: dict[str, Tensor], step: int, generator: torch.Generator) -> Loss:
        """Return the loss of values at a step, as `loop.optimise` takes it."""
        values = self._in_turn(values, step)
        timeline, reading = self.timeline(values), self.repairing(values)
        objects = (*self.still, *self._sparse(generator))
        pairs = [(*reading.measured(timeline, one.voxels), one) for one in objects]
        terms = {name: sum(part) / len(pairs) for name, part in self._image_terms(pairs).items()}
        terms |= self._sequence_terms(timeline)
        weights = self.experiment.loss
        total = sum(getattr(weights, name) * value for name, value in terms.items())
        error = terms["image"].detach().sqrt()
        return Loss(total, {"error": error, **terms})

    def _in_turn(self, values: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the values of a step, detached where it is the turn of others."""
        network = self.experiment.network
        if network is None or not network.turns:
            return values
        of_network = step // network.turns % 2 == 1
        return {
            name: value if name.startswith(PREFIX) == of_network else value.detach() for name, value in values.items()
        }

    def _image_terms(self, pairs: list[tuple[Tensor, Tensor, Imaged]]) -> dict[str, list[Tensor]]:
        weights = self.experiment.loss
        terms = {"image": [relative_l2(image, one.image) for _, image, one in pairs]}
        if weights.l1:
            terms["l1"] = [relative_l1(image, one.image) for _, image, one in pairs]
        if weights.ssim:
            terms["ssim"] = [dissimilarity(image, one.image) for _, image, one in pairs]
        if weights.kspace:
            terms["kspace"] = [relative_l2(signal, one.signal) for signal, _, one in pairs]
        if weights.contrast:
            terms["contrast"] = [
                contrast_errors(image, one.image, one.tissues).square().sum() for _, image, one in pairs
            ]
        return terms

    def _sequence_terms(self, timeline: Timeline) -> dict[str, Tensor]:
        weights, scheme = self.experiment.loss, self.scheme
        terms = {"sar": self.relative_sar(timeline)}
        if weights.smoothness:
            terms["smoothness"] = roughness(timeline.flip_angle[scheme.refocusing | ~scheme.refocusing.any()])
        if weights.coverage:
            terms["coverage"] = uncovered(sampled_kspace(timeline, scheme.refocusing), scheme.fov, scheme.matrix)
        if weights.gradients:
            terms["gradients"] = gradient_excess(timeline, self.scanner) + slew_excess(timeline, self.scanner)
        if weights.pns:
            terms["pns"] = nerve_excess(timeline, self.scanner, scheme.fov[2])
        return terms

    def limited(self, timeline: Timeline) -> dict[str, tuple[Tensor, float]]:
        """Return what limits are asked for, by name, and each limit."""
        limits, found = self.experiment.limits, {}
        if limits.sar is not None:
            found["sar"] = (self.relative_sar(timeline), limits.sar)
        if limits.pns is not None:
            found["pns"] = (nerve_peak(timeline, self.scanner, self.scheme.fov[2]), limits.pns)
        return found

    def exceeded(self, timeline: Timeline) -> list[str]:
        """Return the names of the limits that a sequence exceeds by more than 1 %."""
        return [name for name, (value, limit) in self.limited(timeline).items() if value > (1 + _SLACK) * limit]

    def constraints(self, values: dict[str, Tensor]) -> Tensor:
        """Return by how much limits are exceeded, relative, ``[limit]``, as `constrained.optimise_under` takes it."""
        return torch.stack([value / limit - 1 for value, limit in self.limited(self.timeline(values)).values()])

    def _sparse(self, generator: torch.Generator) -> list[Imaged]:
        """Return the sparse phantoms of a step."""
        settings = self.experiment.phantom
        seeds = torch.randint(2**31, (settings.samples * settings.name.count(SPARSE),), generator=generator)
        return [self.imaged(SPARSE, seed) for seed in seeds.tolist()]

    def shown(self) -> Imaged:
        """Return the phantom of pictures and results: that of the test, if there is one."""
        settings = self.experiment.phantom
        if not settings.test and self.still:
            return self.still[0]
        return self.imaged(settings.test or settings.name[0], self.experiment.loop.seed)

    def imaged(self, name: str, seed: int = 0) -> Imaged:
        """Return a phantom by its name, with what it should look like; `seed` is that of sparse ones."""
        phantom = phantom_of(name, self.experiment.phantom, self.scheme, seed)
        voxels = voxels_of(phantom, self.experiment.phantom)
        wanted, timeline = self.of_target, self.target.timeline()
        with torch.no_grad():
            signal, image = wanted.measured(timeline, voxels)
            kind = self.experiment.target.kind
            if kind == "mask":
                shape = (phantom.proton_density[0] > 0).double()
                image = shape * (image.norm() / shape.norm()) + 0j
            elif kind == "steady":
                image = wanted.steady(timeline, voxels)
        return Imaged(voxels, signal, image, tissue_weights(phantom) if name == "brain" else None)


def problem_of(experiment: Experiment) -> Problem:
    """Return the problem that an experiment describes.

    Raises
    ------
    ProtocolError
        If the sequence cannot be, its phantom has no contrast that the loss is to keep, nothing that is freed changes
        what a limit is of, or the target's values are out of their bounds.
    """
    sequence, repair = experiment.sequence, experiment.network
    scheme = scheme_of(sequence)
    target = scheme_of(replace(sequence, readouts=None)) if isinstance(sequence, GradientEchoes) else scheme
    _require_reachable(experiment, scheme)
    scanner = Scanner.preset(experiment.loop.scanner)
    parameters, network = _parameters(experiment, scheme, scanner), None
    if repair is not None:
        shape = {"width": repair.width, "layers": repair.layers, "kernel": repair.kernel}
        network = new_repair_network(**shape, seed=experiment.loop.seed)
        parameters |= weight_parameters(network)
    bare = Problem(experiment, scheme, target, parameters, scanner, _engine(experiment, scheme, parameters), network)
    still = tuple(bare.imaged(name) for name in experiment.phantom.name if name != SPARSE)
    if experiment.loss.contrast and any(one.tissues is None for one in still):
        raise ProtocolError("contrast: the brain has no voxel of grey matter, white matter or fluid: make it larger")
    return replace(bare, still=still)


def _engine(experiment: Experiment, scheme: Scheme, parameters: Mapping[str, Parameter]) -> Engine:
    """Return what plays the sequences of an experiment, by its first sequence and its first phantom."""
    loop, settings = experiment.loop, experiment.phantom
    timeline = scheme.timeline({name: parameters[name].start for name in experiment.learn.free})
    voxels = voxels_of(phantom_of(settings.name[0], settings, scheme, loop.seed), settings)
    return choose_engine(loop.engine, timeline, voxels, loop.states, loop.spins)


def _require_reachable(experiment: Experiment, scheme: Scheme) -> None:
    """Raise if nothing that is freed changes what a limit is of."""
    limits, free = experiment.limits, experiment.learn.free
    played = scheme.timeline({name: scheme.values[name].clone().requires_grad_() for name in free})
    for name, limit, changed in (("sar", limits.sar, played.flip_angle), ("pns", limits.pns, played.moment)):
        if limit is not None and not changed.requires_grad:
            what = "gradients" if name == "pns" else "flip angles"
            raise ProtocolError(
                f"[limits] {name} = {limit:g}: {', '.join(free)} leave the {what} as they are: "
                "free what changes them, or leave the limit out"
            )


def _parameters(experiment: Experiment, scheme: Scheme, scanner: Scanner) -> dict[str, Parameter]:
    """Return the parameters that are freed: from the target's values, or small random ones."""
    learn, largest = experiment.learn, {}
    if experiment.limits.gradients:
        largest = gradient_bounds(experiment.sequence, scheme.values["bend"].shape[1], scanner)
    generator = torch.Generator().manual_seed(experiment.loop.seed)
    parameters = {}
    for name in learn.free:
        bounds, start = scheme.bounds[name], scheme.values[name]
        high = largest.get(name, bounds.high)
        low = -high if name in largest else bounds.low
        if learn.start == "zero":
            start = learn.spread * bounds.unit * torch.randn(start.shape, generator=generator, dtype=torch.float64)
            start = start + (math.radians(learn.flip_angle) if name == "flip_angle" else 0.0)
            start = start.clamp(*(torch.as_tensor(bound, dtype=torch.float64) for bound in (low, high)))
        elif name in largest:
            require_within(name, start, largest[name])
        parameters[name] = Parameter(start, low, high, bounds.scale)
    return parameters
