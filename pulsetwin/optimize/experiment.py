"""An experiment as a TOML file says it: every key known, every value in its range."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.methods import METHODS as WAYS
from pulsetwin.optimize.schemes import Scheme, gradient_echoes, spin_echoes
from pulsetwin.optimize.settings import in_radians, require_free
from pulsetwin.optimize.t1_experiment import KIND as T1_MAPPING
from pulsetwin.optimize.t1_experiment import T1Experiment, t1_experiment_from
from pulsetwin.recon.direct_images import METHODS as RECONSTRUCTIONS
from pulsetwin.sequences.protocol import protocol_from, setting, validate
from pulsetwin.settings_file import read_toml_and_text

SPARSE = "sparse"
PHANTOMS = ("brain", "shepp-logan", SPARSE)


@dataclass(frozen=True, slots=True)
class GradientEchoes:
    """Settings of `schemes.gradient_echoes`; angles in degrees."""

    matrix: int = setting(48, "", "samples, lines and voxels along an axis", low=4, high=512)
    fov: float = setting(0.2, "m", "field of view in the plane", low=1e-3, high=1)
    thickness: float = setting(8e-3, "m", "of the slice", low=1e-4, high=0.2)
    flip_angle: float = setting(5.0, "degrees", "of the target's pulses", low=0.01, high=180)
    tr: float = setting(20e-3, "s", "repetition time", low=1e-4, high=10)
    te: float = setting(3e-3, "s", "echo time", low=1e-4, high=1)
    dwell: float = setting(40e-6, "s", "between samples", low=1e-7, high=1e-3)
    trajectory: str = setting("cartesian", "", "of the target", choices=("cartesian", "radial"))
    spoiling: float = setting(2.0, "", "cycles across a voxel after each repetition", low=0, high=64)
    rf_spoiling: float = setting(84.0, "degrees", "increment of the phase's increment", low=0, high=360)
    readouts: int | None = setting(
        None, "", "instead of the target's: central lines, or spokes evenly spaced", low=1, high=512
    )


@dataclass(frozen=True, slots=True)
class SpinEchoes:
    """Settings of `schemes.spin_echoes`; angles in degrees."""

    matrix: int = setting(96, "", "samples, lines and voxels along an axis", low=4, high=512)
    fov: float = setting(0.2, "m", "field of view in the plane", low=1e-3, high=1)
    thickness: float = setting(8e-3, "m", "of the slice", low=1e-4, high=0.2)
    refocusing: float = setting(180.0, "degrees", "of the target's refocusing pulses", low=1, high=180)
    echo_spacing: float = setting(6e-3, "s", "between echoes", low=1e-4, high=1)
    dwell: float = setting(40e-6, "s", "between samples", low=1e-7, high=1e-3)
    crushing: float = setting(1.0, "", "cycles across a voxel beyond the readout's", low=0, high=64)
    order: str = setting("centric", "", "of the lines", choices=("centric", "linear"))


@dataclass(frozen=True, slots=True)
class Object:
    """What is imaged while learning."""

    name: tuple[str, ...] = setting(("brain",), "", "phantoms of each step", choices=PHANTOMS)
    b0: float = setting(0.0, "Hz", "off-resonance of all of it, on top of its own", low=-1e4, high=1e4)
    fields: bool = setting(False, "", "whether B0 and B1 of a brain are uneven")
    blocks: int = setting(20, "", "rectangles of a sparse phantom", low=1, high=1000)
    largest: int = setting(6, "", "longest edge of a rectangle [voxels]", low=1, high=512)
    samples: int = setting(1, "", "sparse phantoms a step", low=1, high=64)
    test: str = setting("", "", "phantom that the result is tested on instead", choices=("", *PHANTOMS[:2]))


@dataclass(frozen=True, slots=True)
class Learning:
    """What is learnt, and from where."""

    free: tuple[str, ...] = setting((), "", "values of the sequence to learn")
    start: str = setting("target", "", "where they start: the target's values, or zero", choices=("target", "zero"))
    spread: float = setting(0.1, "", "standard deviation of small random starts, of each value's unit", low=0, high=10)
    flip_angle: float = setting(2.0, "degrees", "mean flip angle of a start at zero", low=0, high=180)


@dataclass(frozen=True, slots=True)
class Target:
    """What the image is to be, and how images are made."""

    kind: str = setting("image", "", "image of the target sequence; mask of the object; or the image, were it steady",
                        choices=("image", "mask", "steady"))  # fmt: skip
    method: str = setting("adjoint", "", "reconstruction", choices=RECONSTRUCTIONS)
    iterations: int = setting(10, "", "of the reconstruction", low=1, high=1000)


@dataclass(frozen=True, slots=True)
class Repair:
    """The network that repairs images of the reconstruction; see `image_repair.new_repair_network`."""

    width: int = setting(32, "", "channels between layers", low=1, high=4096)
    layers: int = setting(3, "", "hidden ones", low=1, high=32)
    kernel: int = setting(3, "", "voxels along an edge of what a layer sees, odd", low=1, high=31)
    turns: int = setting(0, "", "steps of sequence and network in turns; 0: together", low=0, high=10**6)


@dataclass(frozen=True, slots=True)
class Weights:
    """What the parts of the loss weigh; each is relative to the target."""

    image: float = setting(1.0, "", "squared relative error of the image", low=0)
    l1: float = setting(0.0, "", "absolute relative error of the image", low=0)
    ssim: float = setting(0.0, "", "structural dissimilarity", low=0)
    kspace: float = setting(0.0, "", "squared relative error of the signal", low=0)
    contrast: float = setting(0.0, "", "squared relative errors of the tissues' contrasts", low=0)
    sar: float = setting(0.0, "", "squared flip angles", low=0)
    smoothness: float = setting(0.0, "", "squared differences of neighbouring flip angles", low=0)
    coverage: float = setting(0.0, "", "unevenness of samples in k-space", low=0)
    gradients: float = setting(0.0, "", "excess of gradient amplitude and slew rate", low=0)
    pns: float = setting(0.0, "", "excess of nerve stimulation over 80 % of its limit", low=0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the learnt sequence may not exceed: by bounds, or by an augmented Lagrangian where a number is given."""

    gradients: bool = setting(False, "", "bound freed moments by what the scanner's gradients can play")
    sar: float | None = setting(None, "", "sum of squared flip angles over the target's", low=1e-6, high=1e6)
    pns: float | None = setting(None, "%", "peak of nerve stimulation", low=1, high=1000)
    rounds: int = setting(5, "", "each of the loop's steps, with the multipliers of the one before", low=1, high=100)

    @property
    def asked(self) -> bool:
        """Whether a number is given."""
        return self.sar is not None or self.pns is not None


@dataclass(frozen=True, slots=True)
class Loop:
    """Settings of `loop.optimise`, and of the engine."""

    method: str = setting("adam", "", "way downhill", choices=WAYS)
    steps: int = setting(1000, "", "how many", low=1, high=10**7)
    rate: float = setting(0.05, "", "of a step", low=1e-12, high=1e3)
    decay: float = setting(1.0, "", "what the rate falls to", low=1e-9, high=1)
    restarts: int = setting(0, "", "of rate and method", low=0, high=10**4)
    seed: int = setting(0, "", "of starts and phantoms", low=0, high=2**31)
    every: int = setting(50, "", "steps between checkpoints", low=1, high=10**6)
    pictures: int = setting(50, "", "steps between pictures of the film", low=1, high=10**6)
    engine: str = setting("auto", "", "of the simulation", choices=("auto", "graphs", "isochromats"))
    spins: int = setting(64, "", "isochromats in a voxel", low=1, high=2**16)
    states: int = setting(4096, "", "most states of the graph in a repetition", low=1, high=10**6)
    scanner: str = setting("siemens-prisma", "", "preset whose gradient limits count")


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is learnt, on what, and how; see the classes of its parts.

    Parameters
    ----------
    title
        One line.
    sequence, phantom, learn, target, loss, limits, loop, network
        Tables of the TOML file of these names; without one for the network, there is none.
    text
        The file's text.
    """

    title: str
    sequence: GradientEchoes | SpinEchoes
    phantom: Object
    learn: Learning
    target: Target
    loss: Weights
    limits: Limits
    loop: Loop
    network: Repair | None
    text: str


_SCHEMES = {GradientEchoes: gradient_echoes, SpinEchoes: spin_echoes}
_SEQUENCES = {"gradient_echoes": GradientEchoes, "spin_echoes": SpinEchoes}
_TABLES = {"phantom": Object, "learn": Learning, "target": Target, "loss": Weights, "limits": Limits, "loop": Loop}
_NETWORK = "network"  # the only table whose absence means something


def read_experiment(path: str | Path) -> Experiment | T1Experiment:
    """Return the experiment of a TOML file.

    Raises
    ------
    FileError
        If the file is missing or no TOML.
    ProtocolError
        Naming the file, the key, and what it may be.
    """
    tables, text = read_toml_and_text(path)
    return experiment_from(tables, str(path), text)


def experiment_from(tables: dict[str, Any], source: str, text: str = "") -> Experiment | T1Experiment:
    """Return the experiment of nested tables; `source` is named in errors, which are those of `read_experiment`."""
    sequence = tables.get("sequence")
    if isinstance(sequence, dict) and sequence.get("kind") == T1_MAPPING:
        return t1_experiment_from(tables, source, text)
    known = ("title", "sequence", *_TABLES, _NETWORK)
    for name, value in tables.items():
        if name not in known:
            raise ProtocolError(f"{source}: no table {name!r}; there are {', '.join(known)}")
        if isinstance(value, dict) == (name == "title"):
            raise ProtocolError(f"{source}: {name} is to be a {'text' if name == 'title' else 'table'}")
    own = dict(tables.get("sequence", {}))
    kind = own.pop("kind", None)
    if not isinstance(kind, str) or kind not in _SEQUENCES:
        raise ProtocolError(f"{source}: [sequence] kind = {kind!r}: give {' or '.join((*_SEQUENCES, T1_MAPPING))}")
    sequence = protocol_from(_SEQUENCES[kind], own, f"{source}: [sequence]")
    asked = _TABLES | ({_NETWORK: Repair} if _NETWORK in tables else {})
    parts = {name: protocol_from(of, _table(tables, name), f"{source}: [{name}]") for name, of in asked.items()}
    for part in (sequence, *parts.values()):
        validate(part)
    experiment = Experiment(str(tables.get("title", "")), sequence, **{_NETWORK: None} | parts, text=text)
    _check(experiment, source)
    return experiment


def _table(tables: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a table, in which one phantom may be given without a list."""
    own = dict(tables.get(name, {}))
    if name == "phantom" and isinstance(own.get("name"), str):
        own["name"] = [own["name"]]
    return own


def scheme_of(sequence: GradientEchoes | SpinEchoes) -> Scheme:
    """Return the scheme of a sequence's settings.

    Raises
    ------
    ProtocolError
        If the readout does not fit.
    """
    return _SCHEMES[type(sequence)](**in_radians(sequence))


def _check(experiment: Experiment, source: str) -> None:
    sequence, network = experiment.sequence, experiment.network
    try:
        names = scheme_of(sequence).values
    except ProtocolError as error:
        raise ProtocolError(f"{source}: [sequence]: {error}") from None
    if experiment.learn.free or network is None:
        require_free(experiment.learn.free, names, source)
    if network is not None and network.kernel % 2 == 0:
        raise ProtocolError(f"{source}: [network] kernel = {network.kernel}: give an odd number")
    if network is not None and network.turns and (experiment.limits.asked or experiment.loop.method != "adam"):
        raise ProtocolError(f"{source}: [network] turns: give [loop] method adam, and no sar or pns in [limits]")
    if experiment.limits.gradients and not isinstance(sequence, GradientEchoes):
        raise ProtocolError(f"{source}: [limits] gradients: spin_echoes have no gradients to learn: leave it out")
    if experiment.loss.contrast and set(experiment.phantom.name) != {"brain"}:
        raise ProtocolError(f"{source}: [loss] contrast is between the tissues of a brain: give phantom name brain")
    if experiment.loss.kspace and getattr(sequence, "readouts", None) is not None:
        raise ProtocolError(f"{source}: [loss] kspace compares as many samples as the target's: leave readouts out")
    if not experiment.phantom.name:
        raise ProtocolError(f"{source}: [phantom] name is empty: give some of {', '.join(PHANTOMS)}")
