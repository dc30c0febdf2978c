"""Weights of a network among the parameters that are learnt: their names, and what a step changes them by."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pulsetwin.optimize.parameters import Parameter
from pulsetwin.recon.image_network import ImageNetwork

PREFIX = "network."
_STEP = 0.01


def weight_parameters(network: ImageNetwork) -> dict[str, Parameter]:
    """Return the weights of a network as parameters, ``network.NAME``, from where they are."""
    return {PREFIX + name: Parameter(value, scale=_STEP) for name, value in network.weights.items()}


def weights_of(values: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Return the weights among values of parameters, by their names in the network."""
    return {name.removeprefix(PREFIX): one.to(dtype) for name, one in values.items() if name.startswith(PREFIX)}
