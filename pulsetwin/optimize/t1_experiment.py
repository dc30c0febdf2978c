"""The experiment of T1 maps as a TOML file says it: times of an inversion recovery, and the network that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.settings import require_free
from pulsetwin.sequences.protocol import protocol_from, setting, validate

KIND = "inversion_recovery"
FREE = ("inversion_time", "recovery", "flip_angle")


@dataclass(frozen=True, slots=True)
class InversionRecovery:
    """Settings of `inversion_recovery`; angles in degrees."""

    images: int = setting(10, "", "inversions, each with an image", low=2, high=100)
    matrix: int = setting(32, "", "samples, lines and voxels along an axis", low=4, high=256)
    fov: float = setting(0.2, "m", "field of view in the plane", low=1e-3, high=1)
    thickness: float = setting(8e-3, "m", "of the slice", low=1e-4, high=0.2)
    flip_angle: float = setting(5.0, "degrees", "of the excitations", low=0.01, high=90)
    tr: float = setting(15e-3, "s", "from excitation to excitation", low=1e-4, high=10)
    te: float = setting(8e-3, "s", "echo time", low=1e-4, high=1)
    dwell: float = setting(80e-6, "s", "between samples", low=1e-7, high=1e-3)


@dataclass(frozen=True, slots=True)
class Examples:
    """What the network and the sequence learn from."""

    maps: int = setting(10, "", "random rectangles that a turn of the network learns from", low=1, high=1000)
    edge: int = setting(12, "", "of a rectangle [voxels]", low=2, high=256)
    snr: float = setting(100.0, "", "signal of brain tissue at equilibrium over the noise", low=1, high=1e6)


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """What reads T1 from the images, voxel by voxel; see `image_network.Architecture`."""

    width: int = setting(64, "", "channels between layers", low=1, high=4096)
    layers: int = setting(3, "", "hidden ones", low=1, high=32)


@dataclass(frozen=True, slots=True)
class Learning:
    """What of the sequence is learnt, and what its time costs."""

    free: tuple[str, ...] = setting(("inversion_time", "recovery"), "", "values of the sequence")
    time: float = setting(1e-4, "1/s", "squared relative error of T1 that a second is worth", low=0, high=1)


@dataclass(frozen=True, slots=True)
class Turns:
    """Sequence and network together by signals of single voxels, then the network by images, then both in turns."""

    voxels: int = setting(4000, "", "steps of sequence and network together, without images", low=0, high=10**7)
    images: int = setting(3000, "", "steps of the network after that, by images", low=0, high=10**7)
    rounds: int = setting(5, "", "turns of the sequence, each with one of the network after it", low=0, high=10**5)
    sequence_steps: int = setting(20, "", "of a turn of the sequence", low=1, high=10**6)
    network_steps: int = setting(400, "", "of a turn of the network", low=1, high=10**6)
    rate: float = setting(0.3, "", "of a step, in tenths of a second and hundredths of a weight", low=1e-9, high=100)
    seed: int = setting(0, "", "of weights, maps and noise", low=0, high=2**31)
    every: int = setting(250, "", "steps between checkpoints", low=1, high=10**6)
    pictures: int = setting(250, "", "steps between pictures of the film", low=1, high=10**6)
    states: int = setting(20, "", "most states of the graph in a repetition", low=1, high=10**6)


@dataclass(frozen=True, slots=True)
class T1Experiment:
    """Settings, by the tables of the TOML file."""

    title: str
    sequence: InversionRecovery
    examples: Examples
    network: NetworkSettings
    learn: Learning
    turns: Turns
    text: str


_TABLES = {
    "sequence": InversionRecovery, "examples": Examples, "network": NetworkSettings, "learn": Learning, "turns": Turns,
}  # fmt: skip


def t1_experiment_from(tables: dict[str, Any], source: str, text: str = "") -> T1Experiment:
    """Return the experiment of nested tables; `source` is named in errors.

    Raises
    ------
    ProtocolError
        Naming the key, and what it may be.
    """
    own = {name: dict(value) if isinstance(value, dict) else value for name, value in tables.items()}
    title = own.pop("title", "")
    for name, value in own.items():
        if name not in _TABLES or not isinstance(value, dict):
            raise ProtocolError(f"{source}: no table {name!r}; there are title, {', '.join(_TABLES)}")
    own.get("sequence", {}).pop("kind", None)
    parts = {name: protocol_from(of, own.get(name, {}), f"{source}: [{name}]") for name, of in _TABLES.items()}
    for part in parts.values():
        validate(part)
    experiment = T1Experiment(str(title), **parts, text=text)
    require_free(experiment.learn.free, FREE, source)
    if experiment.examples.edge > experiment.sequence.matrix:
        raise ProtocolError(f"{source}: [examples] edge is larger than the matrix: give one that fits")
    if not experiment.turns.voxels + experiment.turns.images + experiment.turns.rounds:
        raise ProtocolError(f"{source}: [turns] voxels, images and rounds are all 0: give one of them a number")
    return experiment
