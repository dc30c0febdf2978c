"""RF phase from repetition to repetition."""

from __future__ import annotations

import math


def spoiled_phase(increment: float, repetition: int) -> float:
    """Return the RF phase of a repetition [rad]; its increment grows by `increment` [rad] each time.

    Zur et al., Magn Reson Med 1991, 21, 251; doi:10.1002/mrm.1910210210.
    """
    return increment * repetition * (repetition + 1) / 2 % (2 * math.pi)


def within_turn(phase: float) -> float:
    """Return a phase [rad] from 0 to below a turn; one that is a turn but for rounding is 0, as files round it up."""
    return 0.0 if abs(math.remainder(phase, 2 * math.pi)) < 1e-9 else phase % (2 * math.pi)
