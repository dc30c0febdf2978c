"""T1 by a network from images of an inversion recovery, whatever their common phase and scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.recon.definitions import stated_numbers
from pulsetwin.recon.image_network import Architecture, ImageNetwork, new_image_network
from pulsetwin.recon.relaxation_maps import stated_times
from pulsetwin.recon.voxels import voxels
from pulsetwin.volume import Images, Maps

RANGE = (0.1, 8.0)
"""Between which T1 is told [s]."""
PURPOSE = "T1 from inversion recovery"
_NEAR = 1e-4  # [s], within which times are the same
_NEAR_ANGLE = 0.01  # degrees
_RASTER = 5e-6  # [s], half a raster of blocks, by which an excitation may last longer or shorter than it was asked to


def new_t1_network(images: int, *, width: int = 64, layers: int = 3, kernel: int = 1, seed: int = 0) -> ImageNetwork:
    """Return an untrained network for so many images; see `image_network.Architecture`."""
    return new_image_network(Architecture(images, 1, width, layers, kernel), {"what": PURPOSE}, seed=seed)


def purpose_of(
    inversion_times: Sequence[float], recoveries: Sequence[float], flip_angle: float, tr: float, excitations: int
) -> dict[str, Any]:
    """Return what a network is for that learnt with an inversion recovery: all that sets a voxel's course over images.

    Parameters
    ----------
    inversion_times
        From each inversion to the first excitation [s], ``[image]``.
    recoveries
        From a repetition time after the last excitation to the next inversion [s], ``[image - 1]``.
    flip_angle, tr, excitations
        Of an image's train [degrees], [s].
    """
    cycle = np.array(inversion_times[:-1]) + excitations * tr + np.array(recoveries)
    return {
        "what": PURPOSE, "TI": list(inversion_times), "cycle": cycle.tolist(), "flip angle": flip_angle, "TR": tr,
        "excitations": excitations,
    }  # fmt: skip


def signed_shape(images: Tensor) -> Tensor:
    """Return each voxel's course over the images as real numbers of norm 1, with a sign that is the voxel's own.

    One phase fits all images of a voxel up to their signs: half that of the sum of squares.

    Parameters
    ----------
    images
        Complex ``[image, ...]``.
    """
    square = (images * images).sum(0)
    turned = torch.exp(-0.5j * torch.angle(square + (square == 0)))
    real = (images * turned).real
    return real / (real.square().sum(0) + 1e-30).sqrt()


def told_t1(network: ImageNetwork, images: Tensor, weights: Mapping[str, Tensor] | None = None) -> Tensor:
    """Return T1 [s] of images, differentiable in them and in the weights.

    The network is made even, ``f(x) + f(-x)``, since the sign of a voxel's course is not known.

    Parameters
    ----------
    network
        Of `new_t1_network`.
    images
        Complex ``[image, map, y, x]``.
    weights
        By name, instead of the network's own.

    Returns
    -------
    Tensor
        float32 ``[map, y, x]``.
    """
    course = signed_shape(images).float().movedim(0, 1)
    one, other = network(torch.cat((course, -course)), weights)[:, 0].chunk(2)
    low, high = RANGE
    return low * (high / low) ** torch.sigmoid(one + other)


def map_t1(images: Images, definitions: Mapping[str, Any], network: ImageNetwork) -> Maps:
    """Return ``T1`` [s] of images by a network that learnt together with their sequence.

    Parameters
    ----------
    images
        Complex, in the order of the times.
    definitions
        Those of the `.seq`: ``TI``, the times from inversion to each image [s], ``MeasurementTimes``, those from an
        inversion to the next (or one, ``TR``), ``FlipAngle`` [degrees], ``Matrix``, and ``Protocol_echo_spacing`` [s].
    network
        Trained for these.

    Raises
    ------
    ProtocolError
        If the images are not complex, the `.seq` does not state all of that, or no voxel can be mapped.
    MismatchError
        If the network is for other maps, another number of images, or another sequence.
    """
    if network.purpose.get("what") != PURPOSE:
        raise MismatchError(f"the network is for {network.purpose.get('what')}, not {PURPOSE}: give one that is")
    if not np.iscomplexobj(images.values):
        raise ProtocolError("T1: the network reads complex images, these are magnitudes: reconstruct the raw data")
    if network.architecture.inputs != len(images.values):
        raise MismatchError(f"the network reads {network.architecture.inputs} images, these are {len(images.values)}: "
                            "give the network of this sequence")  # fmt: skip
    _check_sequence(definitions, network)
    found = voxels(images)
    with torch.inference_mode():
        values = told_t1(network, torch.from_numpy(images.values)).numpy()[found.where]
    return Maps(found.volumes({"T1": (values, "s")}, np.ones(len(values), bool)))


def _check_sequence(definitions: Mapping[str, Any], network: ImageNetwork) -> None:
    """Check that a `.seq` is what a network was trained for, image by image."""
    excitations = _stated(definitions, "Matrix")[1:2]
    images = network.architecture.inputs
    if "MeasurementTimes" in definitions:
        cycles = _stated(definitions, "MeasurementTimes")[:-1]
    else:
        cycles = np.repeat(_stated(definitions, "TR"), images - 1)
    played = {
        "TI": (stated_times(definitions, "TI", images, "T1"), "s", _NEAR),
        "cycle": (cycles, "s from inversion to inversion", _NEAR + _RASTER * excitations.max(initial=0)),
        "flip angle": (_stated(definitions, "FlipAngle"), "degrees", _NEAR_ANGLE),
        "TR": (_stated(definitions, "Protocol_echo_spacing"), "s from excitation to excitation", _RASTER),
        "excitations": (excitations, "in an image", 0),
    }
    for name, (stated, unit, near) in played.items():
        if name not in network.purpose:
            raise MismatchError(f"the network does not tell the {name} that it was trained for: train it anew")
        learnt = np.atleast_1d(network.purpose[name])
        if stated.shape != learnt.shape or np.abs(stated - learnt).max() > near:
            raise MismatchError(f"the network was trained for {name} of {learnt} {unit}, but the .seq has {stated}: "
                                "give the network of this sequence")  # fmt: skip


def _stated(definitions: Mapping[str, Any], name: str) -> np.ndarray:
    numbers = stated_numbers(definitions, name)
    if numbers is None:
        raise ProtocolError(f"T1: the .seq does not define {name}: pass the one that the network was learnt with")
    return numbers
