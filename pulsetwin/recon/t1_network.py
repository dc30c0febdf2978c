"""T1 by a network from images of an inversion recovery, whatever their common phase and scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pulsetwin.errors import MismatchError, ProtocolError
from pulsetwin.recon.image_network import Architecture, ImageNetwork, new_image_network
from pulsetwin.recon.relaxation_maps import stated_times
from pulsetwin.recon.voxels import voxels
from pulsetwin.volume import Images, Maps

RANGE = (0.1, 8.0)
"""Between which T1 is told [s]."""
PURPOSE = "T1 from inversion recovery"
_NEAR = 1e-4  # [s], within which times are the same


def new_t1_network(images: int, *, width: int = 64, layers: int = 3, kernel: int = 1, seed: int = 0) -> ImageNetwork:
    """Return an untrained network for so many images; see `image_network.Architecture`."""
    return new_image_network(Architecture(images, 1, width, layers, kernel), {"what": PURPOSE}, seed=seed)


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
        Those of the `.seq`: ``TI``, the times from inversion to each image [s].
    network
        Trained for these times.

    Raises
    ------
    ProtocolError
        If the images are not complex, the `.seq` does not state the times, or no voxel can be mapped.
    MismatchError
        If the network is for other maps or times.
    """
    if network.purpose.get("what") != PURPOSE:
        raise MismatchError(f"the network is for {network.purpose.get('what')}, not {PURPOSE}: give one that is")
    if not np.iscomplexobj(images.values):
        raise ProtocolError("T1: the network reads complex images, these are magnitudes: reconstruct the raw data")
    times, learnt = stated_times(definitions, "TI", len(images.values), "T1"), np.array(network.purpose["TI"])
    if times.shape != learnt.shape or np.abs(times - learnt).max() > _NEAR:
        raise MismatchError(f"the network was trained for TI of {learnt} s, but those of the .seq are {times} s: give "
                            "the network of this sequence")  # fmt: skip
    found = voxels(images)
    with torch.inference_mode():
        values = told_t1(network, torch.from_numpy(images.values)).numpy()[found.where]
    return Maps(found.volumes({"T1": (values, "s")}, np.ones(len(values), bool)))
