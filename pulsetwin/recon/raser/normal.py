"""Normal equations of an image and shared parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal equations of image and parameters: ``G, X, Q`` and the right sides; chi squared where both are 0."""

    image: np.ndarray
    mixed: np.ndarray
    shared: np.ndarray
    right: np.ndarray
    shared_right: np.ndarray
    constant: float


def root_of(curvature: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """Return ``R`` of ``R' R``, the curvature but for directions in which a whole profile is not seen."""
    values, vectors = np.linalg.eigh(curvature)
    seen = values * float(profile @ profile) > 1e-4
    return (vectors[:, seen] * np.sqrt(values[seen])).T
