"""What turning and mirroring an object does to RASER features, sinograms and images: exact, for even angles from 0.

A half turn reverses frequencies, and with them the sign of the phase. A mirror along x takes each angle to its
supplement; that of 0 is half a turn: it is reversed.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from pulsetwin.recon.raser.network import Networks

_IMAGINARY = -2  # channel of the features that changes its sign when the frequency does


def turned_features(seen: Tensor, half_turn: bool, mirrored: bool) -> Tensor:
    """Return the features ``[scan, angle, channel, mode]`` of objects turned by half a turn or mirrored, or both."""
    signs = torch.ones(seen.shape[2], 1)
    signs[_IMAGINARY] = -1
    return _turned(seen, half_turn, mirrored, signs)


def turned_sinograms(sinograms: Tensor, half_turn: bool, mirrored: bool) -> Tensor:
    """Return the sinograms ``[scan, angle, mode]`` of objects turned by half a turn or mirrored, or both."""
    return _turned(sinograms, half_turn, mirrored, torch.ones(1))


def turned_images(images: Tensor, half_turn: bool, mirrored: bool) -> Tensor:
    """Return images ``[scan, y, x]`` turned by half a turn or mirrored along x, or both."""
    images = images.flip(1, 2) if half_turn else images
    return images.flip(2) if mirrored else images


def averaged(networks: Networks, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return sinograms and images, each the mean of what networks tell of an object turned in all four ways.

    Parameters
    ----------
    networks
        That need not be symmetric, while the physics is.
    seen
        Features ``[scan, angle, channel, mode]``.
    """
    ways = list(product((False, True), repeat=2))  # each undoes itself
    with torch.no_grad():
        told = [networks(turned_features(seen, *way)) for way in ways]
    sinograms = [turned_sinograms(one, *way) for way, (one, _, _) in zip(ways, told, strict=True)]
    images = [turned_images(one, *way) for way, (_, _, one) in zip(ways, told, strict=True)]
    return torch.stack(sinograms).mean(0), torch.stack(images).mean(0)


def _turned(values: Tensor, half_turn: bool, mirrored: bool, signs: Tensor) -> Tensor:
    if half_turn:
        values = values.flip(-1) * signs
    if mirrored:
        values = torch.cat((values[:, :1].flip(-1) * signs, values[:, 1:].flip(1)), 1)
    return values
