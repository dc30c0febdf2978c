"""Grid an echo-planar scan with its Nyquist ghosts corrected: from a reference, from navigators, or from itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from pulsetwin.errors import MismatchError
from pulsetwin.operators.fft import ifft
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import RawData, Readouts
from pulsetwin.recon.combine import root_sum_of_squares
from pulsetwin.recon.epi import PolarityPhase, from_reference, line_phase, one_delay, without_reference
from pulsetwin.recon.grid import grid
from pulsetwin.recon.layout import Layout


def grid_echo_planar(
    raw: RawData, plan: Layout, reference: RawData | None, matrix: Tensor, progress: Progress = silent
) -> tuple[Tensor, np.ndarray, dict[str, float]]:
    """Grid an echo-planar scan into hybrid space with its ghosts corrected.

    Parameters
    ----------
    raw
        The scan, for its navigators.
    plan
        Where its imaging readouts go.
    reference
        The same train without phase-encoding blips, or None.
    matrix
        Whitening and compression ``[virtual, coil]``.
    progress
        Called while reading.

    Returns
    -------
    hybrid
        ``[contrast, slice, kz, ky, virtual, x]``.
    uncorrected
        Magnitude of the first contrast without any correction, ``[z, y, x]``.
    found
        Gradient delay [s], polarity phase [rad], and whether lines without phase encoding gave them.

    Raises
    ------
    MismatchError
        If the reference does not belong to the scan.
    """
    plain = grid(plan, coil_matrix=matrix, progress=progress)
    lines = _lines_without_blips(raw, plan, reference)
    if lines is not None:
        delay, phases = _measured(lines, matrix)
    else:
        delay, phases = _from_image(plain, plan, matrix, progress)
    phases = phases * plan.slices if len(phases) == 1 else phases
    hybrid = grid(plan, coil_matrix=matrix, delay=delay, phase=line_phase(plan, phases), progress=progress)
    found = {
        "gradient_delay": delay,
        "polarity_phase": float(np.mean([phase.constant for phase in phases])),
        "ghost_reference": float(lines is not None),
    }
    images = ifft(plain[0].permute(0, 3, 1, 2, 4), (2, 3))
    uncorrected = root_sum_of_squares(images).flatten(0, 1)
    return hybrid, uncorrected.cpu().numpy(), found


def _measured(lines: Layout, matrix: Tensor) -> tuple[float, list[PolarityPhase]]:
    """Estimate delay and phases from lines without blips; the delay is refined with the trajectory it implies."""
    delay = 0.0
    for _ in range(2):
        delay += one_delay(from_reference(lines, matrix, delay), lines)
    return delay, from_reference(lines, matrix, delay)


def _from_image(plain: Tensor, plan: Layout, matrix: Tensor, progress: Progress) -> tuple[float, list[PolarityPhase]]:
    """Estimate delay and phases from the image alone; the phases are refined with the trajectory it implies."""
    first = without_reference(plain, plan)
    delay = one_delay(first, plan)
    shifted = grid(plan, coil_matrix=matrix, delay=delay, progress=progress)
    return delay, without_reference(shifted, plan, start=[PolarityPhase(phase.constant, 0.0) for phase in first])


def _lines_without_blips(raw: RawData, plan: Layout, reference: RawData | None) -> Layout | None:
    """Return the lines without phase encoding: of the reference scan, else the scan's navigators, else None."""
    if reference is not None:
        return _along_x(_reference_lines(raw, plan, reference), plan)
    for group in raw.groups:
        flagged = group.flag("navigator") | group.flag("phase_correction")
        if flagged.any() and group.trajectory is not None and group.samples.shape[2] == plan.readouts.samples.shape[2]:
            return _along_x(group.select(flagged), plan)
    return None


def _reference_lines(raw: RawData, plan: Layout, reference: RawData) -> Readouts:
    """Return the reference's readouts; without a `.seq` of its own it follows the scan's trajectory along x."""
    wanted = plan.readouts.samples.shape
    for group in reference.groups:
        lines = group.select(group.flag("imaging"))
        if len(lines) and lines.samples.shape[1:] == wanted[1:]:
            break
    else:
        raise MismatchError(
            f"the reference has no readouts of {wanted[1]} coils and {wanted[2]} samples: give that of this scan"
        )
    if reference.definitions:
        return lines
    if len(lines) != wanted[0]:
        raise MismatchError(
            f"the reference has {len(lines)} readouts, the scan {wanted[0]}: give its .seq too (--reference-seq)"
        )
    return replace(lines, trajectory=plan.readouts.trajectory, labels=plan.readouts.labels)


def _along_x(lines: Readouts, plan: Layout) -> Layout:
    """Lay out lines without phase encoding: only their slice and direction matter."""
    zero = np.zeros(len(lines), np.int64)
    per_slice = int(lines.label("SLC").max(initial=0)) + 1 == plan.slices
    index = lines.label("SLC") if per_slice else zero
    return Layout(lines, plan.shape, plan.fov, ({},), int(index.max()) + 1, zero, index, zero, zero, (0.0, 0.0), 1)
