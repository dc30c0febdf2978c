"""Images by few plain steps: only by methods that there are."""

from __future__ import annotations

import pytest
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.recon.direct_images import direct_image, encoding

FOV = (0.2, 0.2, 5e-3)


def samples(*batch, seed=0):
    return torch.randn((*batch, 40), generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def transform():
    """Return a transform to samples anywhere."""
    return encoding(20 * samples(3, seed=1).real.T, FOV, (6, 5))


def test_methods_that_there_are_not_are_refused():
    with pytest.raises(ProtocolError, match="no method 'steepest' .* adjoint, gradient, cg"):
        direct_image(samples(), transform(), "steepest")
