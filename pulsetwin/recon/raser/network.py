"""Networks from RASER projections to their image: a 1-D network mends each profile, a 2-D U-Net the image of all.

As Becker et al. 2025 have it, but the first sees spectra on the grid of the modes, with phases, and profiles by least
squares beside them (see `features`), and is convolutional all through. Between both lies linear tomography, through
which they learn together. Profiles have a mean of 1, images a largest pixel of about 1.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.nn import functional

from pulsetwin.errors import ShapeError
from pulsetwin.operators.strips import strip_areas
from pulsetwin.recon.network_file import digest_of
from pulsetwin.recon.raser.features import CHANNELS
from pulsetwin.recon.raser.purpose import Purpose
from pulsetwin.recon.raser.tomography import filtered_back_projection

_WIDTH, _DILATIONS = 40, (1, 2, 4, 8, 1, 2)  # channels of the 1-D network, and its blocks
_APART = (1, 2, 4)  # angles between those that its layers after the first blocks see together
_LEVELS = (16, 32, 64, 128)  # channels of the U-Net
_GROUPS = 4  # that features are normalised in
_DAMPING = 0.5  # of the least squares of the tomography, in strips of a pixel


class ProfileNetwork(nn.Module):
    """Profiles ``[scan, angle, mode]``, none negative, their mean 1; from features ``[scan, angle, channel, mode]``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(CHANNELS, _WIDTH, 7, padding=3)
        self.blocks = nn.ModuleList(_Residual(dilation) for dilation in _DILATIONS)
        self.neighbours = nn.ModuleList(_Neighbours(apart) for apart in _APART)
        self.head = nn.Conv1d(_WIDTH + CHANNELS, 1, 1)

    def forward(self, seen: Tensor) -> Tensor:
        """Return the profiles."""
        scans, angles = seen.shape[:2]
        seen = seen.flatten(0, 1)
        x = self.stem(seen)
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number < len(self.neighbours):
                x = self.neighbours[number](x, angles)
        told = functional.softplus(self.head(torch.cat((x, seen), 1))[:, 0], beta=4.0)
        return (told / told.mean(1, keepdim=True)).view(scans, angles, -1)


class _Residual(nn.Module):
    """Two convolutions beside the identity, which it is at first."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, _WIDTH)
        self.one = nn.Conv1d(_WIDTH, _WIDTH, 5, padding=2 * dilation, dilation=dilation)
        self.two = nn.Conv1d(_WIDTH, _WIDTH, 5, padding=2)
        nn.init.zeros_(self.two.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(functional.silu(self.one(functional.silu(self.norm(x)))))


class _Neighbours(nn.Module):
    """What three angles tell together, beside the identity, which it is at first: some emit next to nothing."""

    def __init__(self, apart: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, _WIDTH)
        self.one = nn.Conv2d(_WIDTH, _WIDTH, (3, 5), padding=(apart, 2), dilation=(apart, 1))
        self.two = nn.Conv1d(_WIDTH, _WIDTH, 5, padding=2)
        nn.init.zeros_(self.two.weight)

    def forward(self, x: Tensor, angles: int) -> Tensor:
        by_angle = functional.silu(self.norm(x)).unflatten(0, (-1, angles)).transpose(1, 2)
        return x + self.two(functional.silu(self.one(by_angle)).transpose(1, 2).flatten(0, 1))


class ImageNetwork(nn.Module):
    """A U-Net from images by two linear ways ``[image, 2, y, x]`` to one ``[image, y, x]``, not negative."""

    def __init__(self) -> None:
        super().__init__()
        before = (2, *_LEVELS[:-1])
        self.down = nn.ModuleList(_double(a, b) for a, b in zip(before, _LEVELS, strict=True))
        pairs = list(zip(_LEVELS[:0:-1], _LEVELS[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
        self.merge = nn.ModuleList(_double(2 * b, b) for _, b in pairs)
        self.head = nn.Conv2d(_LEVELS[0], 1, 1)

    def forward(self, seen: Tensor) -> Tensor:
        """Return the images; those seen are scaled to a largest pixel of 1."""
        seen = seen / seen[:, 1:].amax((1, 2, 3), keepdim=True).clamp_min(1e-6)
        y, x = seen.shape[-2:]
        whole = 2 ** (len(_LEVELS) - 1)
        value, kept = functional.pad(seen, (0, -x % whole, 0, -y % whole)), []
        for number, convolve in enumerate(self.down):
            value = convolve(functional.max_pool2d(value, 2) if number else value)
            kept.append(value)
        for rise, merge, side in zip(self.up, self.merge, kept[-2::-1], strict=True):
            value = merge(torch.cat((rise(value), side), 1))
        return functional.relu(seen[:, 1] + self.head(value)[:, 0, :y, :x])


def _double(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1), nn.GroupNorm(_GROUPS, after), nn.SiLU()]
    return nn.Sequential(*layers)


@dataclass(frozen=True, slots=True)
class Networks:
    """Both networks, what they are for, and the tomography between them, ``[2, pixel, angle * mode]``."""

    purpose: Purpose
    profiles: ProfileNetwork
    images: ImageNetwork
    tomography: Tensor

    @property
    def modules(self) -> nn.ModuleDict:
        """All that has weights."""
        return nn.ModuleDict({"profiles": self.profiles, "images": self.images})

    @property
    def digest(self) -> str:
        """SHA-256 of the weights and of what they are for."""
        return digest_of(json.dumps(asdict(self.purpose), sort_keys=True), self.modules)

    def __call__(self, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return sinograms ``[scan, angle, mode]``, their linear images and the images ``[scan, y, x]``.

        Parameters
        ----------
        seen
            Features ``[scan, angle, channel, mode]``.

        Raises
        ------
        ShapeError
            If these are of another number of angles, channels or modes.
        """
        p = self.purpose
        if seen.shape[1:] != (p.angles, CHANNELS, p.modes):
            raise ShapeError(f"features are {tuple(seen.shape)}, the networks are for {p}: train them for such a scan")
        sinogram = self.profiles(seen)
        linear = torch.einsum("wpm,sm->swp", self.tomography, sinogram.flatten(1) / p.modes)
        linear = linear.view(len(seen), 2, p.matrix, p.matrix)
        return sinogram, linear[:, 1], self.images(linear)


def new_networks(purpose: Purpose, *, seed: int = 0) -> Networks:
    """Return networks with random weights; nothing else draws from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Networks(purpose, ProfileNetwork(), ImageNetwork(), _tomography(purpose))


def projector(purpose: Purpose) -> Tensor:
    """Return the areas that strips and pixels share, ``[angle * mode, pixel]``."""
    return torch.from_numpy(_areas(purpose).toarray().astype(np.float32))


def _areas(purpose: Purpose) -> csr_array:
    angles = math.pi * np.arange(purpose.angles) / purpose.angles
    return strip_areas((purpose.matrix, purpose.matrix), angles, purpose.modes)


def _tomography(purpose: Purpose) -> Tensor:
    """Return filtered back-projection and damped least squares as matrices."""
    areas = _areas(purpose)
    units = np.eye(purpose.modes)
    filtered = np.empty(areas.shape[::-1], np.float32)
    for angle in range(purpose.angles):
        one = slice(angle * purpose.modes, (angle + 1) * purpose.modes)
        for mode in range(purpose.modes):
            filtered[:, angle * purpose.modes + mode] = filtered_back_projection(units[[mode]], areas[one])
    filtered /= purpose.angles
    dense = torch.from_numpy(areas.toarray())
    normal = dense.T @ dense
    normal.diagonal().add_(_DAMPING**2)
    squares = torch.cholesky_solve(dense.T.contiguous(), torch.linalg.cholesky(normal))
    return torch.stack((torch.from_numpy(filtered), squares.float()))
