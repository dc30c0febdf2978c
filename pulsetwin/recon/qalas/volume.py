"""The five volumes of a QALAS from its raw data, resolved by echo: each is what its first echo would show."""

from __future__ import annotations

import numpy as np
import torch

from pulsetwin.errors import MismatchError
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import RawData, Readouts
from pulsetwin.recon.cartesian import shift_phase
from pulsetwin.recon.channels import channel_matrix
from pulsetwin.recon.layout import Layout, layout
from pulsetwin.recon.qalas.echo_basis import echo_basis
from pulsetwin.recon.quality import image_figures
from pulsetwin.recon.reconstruct import half_of_memory, imaging_readouts
from pulsetwin.recon.sensitivities import Sensitivities
from pulsetwin.recon.subspace import Lines, subspace_sense
from pulsetwin.recon.volume_sense import calibrated, volume_lines
from pulsetwin.sim.signal_models.qalas_timing import CONTRASTS, QalasTiming
from pulsetwin.volume import Images, affine_ras

_COMPONENTS, _STEPS = 6, 15  # least errors of T1 and T2 at accelerations of 1 to 6
_REGULARISATION = 1e-4  # over the square of a component's strength: weak ones need not explain what is not measured
_COILS = 10
_DTYPE = torch.complex64


def reconstruct_qalas(raw: RawData, *, coils: int | None = None, progress: Progress = silent) -> Images:
    """Reconstruct the five contrasts of a QALAS that this package designed, sampled in full or in part.

    All echoes of all trains are measurements of the same few components (`echo_basis`), which are solved for by SENSE.
    So the decay along a train does not blur the images, and no contrast has to do without the lines of the others.

    Parameters
    ----------
    raw
        The scan, with the definitions of its `.seq`.
    coils
        Virtual coils to compress to; 10 by default if there are more.
    progress
        Called while reading and reconstructing.

    Returns
    -------
    Images
        Complex ``[5, z, y, x]``, whose signs are those of the signals.

    Raises
    ------
    ProtocolError
        If the definitions are not those of a QALAS, or there is no fully sampled centre of k-space.
    MismatchError
        If readouts are missing from its trains, or contrasts.

    References
    ----------
    Subspace: Tamir et al. 2017, doi:10.1002/mrm.26102.
    """
    timing = QalasTiming.from_definitions(raw.definitions)
    readouts, left_out = imaging_readouts(raw)
    plan, assumed = layout(raw, readouts)
    contrast, echo = _numbers(readouts, timing)
    wanted = min(raw.coils, _COILS) if coils is None else coils
    size = len(readouts) * plan.shape[0] * _DTYPE.itemsize
    matrix, compressed = channel_matrix(
        raw, readouts, coils=wanted, coil_bytes=size, memory=half_of_memory(), dtype=_DTYPE
    )
    lines = volume_lines(plan, matrix, progress)
    basis, strength, left = echo_basis(timing, _COMPONENTS)
    weighted = Lines(lines.values, lines.kz, lines.ky, basis[contrast, echo], lines.shape)
    maps = calibrated(lines) if len(matrix) > 1 else Sensitivities(torch.ones(1, 1, 1, 1, dtype=_DTYPE), lines.shape)
    components = subspace_sense(
        weighted,
        maps,
        regularisation=_REGULARISATION / strength**2,
        iterations=_STEPS,
        tolerance=1e-4,
        progress=progress,
    )
    values = torch.einsum("ck,kzyx->czyx", basis[:, 0].to(_DTYPE), components)
    values = values.mul_(shift_phase(plan).to(_DTYPE)).numpy()
    said = f"the echoes were resolved by {_COMPONENTS} components, which leave at most {left:.1%} of a tissue's signal"
    return Images(
        values, affine_ras(raw.geometry, values.shape[:0:-1]), _contrasts(plan), None,
        {"coils": float(len(matrix)), **image_figures(np.abs(values[-1]), None)},
        (*raw.warnings, *left_out, *assumed, *compressed, said),
    )  # fmt: skip


def _numbers(readouts: Readouts, timing: QalasTiming) -> tuple[torch.Tensor, torch.Tensor]:
    """Return contrast and number in its train of each readout, int64 ``[readout]``.

    Raises
    ------
    MismatchError
        If there are other contrasts, or trains are not complete.
    """
    contrast, repetition = (readouts.label(name).astype(np.int64) for name in ("ECO", "SEG"))
    found = np.unique(contrast)
    if found.tolist() != list(range(CONTRASTS)):
        raise MismatchError(f"QALAS has the contrasts ECO 0 to {CONTRASTS - 1}, but the scan has {found.tolist()}: "
                            "is it complete, and is the .seq that of the scan?")  # fmt: skip
    order = np.lexsort((readouts.start_time, contrast, repetition))
    train = (repetition * CONTRASTS + contrast)[order]
    first = np.nonzero(np.diff(train, prepend=-1))[0]
    lengths = np.diff(np.append(first, len(train)))
    if (lengths != timing.train_length).any():
        worst = int(np.argmax(lengths != timing.train_length))
        raise MismatchError(
            f"repetition {train[first[worst]] // CONTRASTS} has {lengths[worst]} readouts of contrast "
            f"{train[first[worst]] % CONTRASTS} where a train has {timing.train_length}: the scan is not complete"
        )
    echo = np.empty(len(order), np.int64)
    echo[order] = np.arange(len(order)) - np.repeat(first, lengths)
    return torch.from_numpy(contrast), torch.from_numpy(echo)


def _contrasts(plan: Layout) -> tuple[dict[str, int], ...]:
    return tuple({"ECO": contrast["ECO"]} for contrast in plan.contrasts)
