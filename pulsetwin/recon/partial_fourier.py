"""Partial Fourier: fill in the unscanned side of k-space from the other, by a smooth image phase."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.operators.fft import fft, ifft
from pulsetwin.recon.hybrid import chunks
from pulsetwin.recon.undersampling import sampled_span

AXES = (-3, -2, -1)


def homodyne(kspace: Tensor, sampled: Tensor, *, axis: int | None = None) -> Tensor:
    """Complete k-space by homodyne detection, ``m = e^{i phi} Re(e^{-i phi} F^-1 W y)``.

    The weights ``W`` rise from 0 to 2 across the symmetric centre, so that ``W(k) + W(-k) = 2``; ``phi`` is the phase
    of the image of that centre. One pass, but the samples are not kept exactly, and a phase that changes faster than
    the centre resolves is lost.

    Parameters
    ----------
    kspace
        Samples ``[*batch, z, y, x]``, any unit; ignored where not sampled. Coils and contrasts are batch axes.
    sampled
        Bool ``[z, y]`` (the side is found by itself), or ``[n]`` along `axis`.
    axis
        Partially sampled axis -3 (z), -2 (y) or -1 (x); needed for ``[n]``, or where z and y are both partial.

    Returns
    -------
    Tensor
        Completed k-space of the shape of `kspace`.

    Raises
    ------
    ShapeError
        If `sampled` does not fit.
    ProtocolError
        If samples are missing within the scanned side, on both sides, or none is left beyond the centre.

    References
    ----------
    Noll et al. 1991, doi:10.1109/42.79473.
    """
    axis, start, stop = _side(kspace, sampled, axis)
    weights, window = _weights(kspace.shape[axis], start, stop, kspace)

    def solve(lines: Tensor) -> Tensor:
        phase = torch.sgn(ifft(lines * window, (-1,)))
        image = ifft(lines * weights, (-1,))
        return fft((image * phase.conj()).real * phase, (-1,))

    return _line_by_line(kspace, axis, start, stop, solve)


def pocs(
    kspace: Tensor,
    sampled: Tensor,
    *,
    axis: int | None = None,
    iterations: int = 30,
    tolerance: float = 1e-4,
) -> Tensor:
    """Complete k-space by projections onto the data and onto images of the centre's phase, ``|m| e^{i phi}``.

    Measured samples are kept as they are. Stops when the filled-in samples change by less than `tolerance`, relative
    to the whole image.

    Parameters
    ----------
    kspace
        Samples ``[*batch, z, y, x]``, any unit; ignored where not sampled. Coils and contrasts are batch axes.
    sampled
        Bool ``[z, y]`` (the side is found by itself), or ``[n]`` along `axis`.
    axis
        Partially sampled axis -3 (z), -2 (y) or -1 (x); needed for ``[n]``, or where z and y are both partial.
    iterations
        Most projections, at least 1.
    tolerance
        Relative change to stop at.

    Returns
    -------
    Tensor
        Completed k-space of the shape of `kspace`.

    Raises
    ------
    ShapeError
        If `sampled` does not fit.
    ProtocolError
        If samples are missing within the scanned side, on both sides, or none is left beyond the centre, or
        `iterations` is below 1.

    References
    ----------
    Haacke et al. 1991, doi:10.1016/0022-2364(91)90253-P.
    """
    axis, start, stop = _side(kspace, sampled, axis)
    if iterations < 1 or not tolerance >= 0:
        raise ProtocolError(f"iterations {iterations} and tolerance {tolerance}: give at least 1 and no negative one")
    _, window = _weights(kspace.shape[axis], start, stop, kspace)

    def solve(lines: Tensor) -> Tensor:
        phase = torch.sgn(ifft(lines * window, (-1,)))
        filled, size = lines, lines.norm()
        for _ in range(iterations):
            previous = filled
            filled = fft(ifft(filled, (-1,)).abs() * phase, (-1,))
            filled[..., start:stop] = lines[..., start:stop]
            if (filled - previous).norm() <= tolerance * size:
                break
        return filled

    result = _line_by_line(kspace, axis, start, stop, solve)
    result.narrow(axis, start, stop - start).copy_(kspace.narrow(axis, start, stop - start))
    return result


def _line_by_line(kspace: Tensor, axis: int, start: int, stop: int, solve: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `solve` to lines along `axis` with the other two axes in image space, some of the batch at a time."""
    volumes = kspace.reshape(-1, *kspace.shape[-3:])
    result = torch.empty_like(volumes)
    others = tuple(other for other in AXES if other != axis)
    for part in chunks(len(volumes), volumes[0].nbytes):
        lines = ifft(volumes[part], others).movedim(axis, -1).contiguous()
        lines[..., :start] = 0
        lines[..., stop:] = 0
        result[part] = fft(solve(lines).movedim(-1, axis), others)
    return result.reshape(kspace.shape)


def _side(kspace: Tensor, sampled: Tensor, axis: int | None) -> tuple[int, int, int]:
    """Return the partial axis and its sampled range."""
    if kspace.ndim < 3 or not kspace.is_complex():
        raise ShapeError(f"kspace is {kspace.dtype} {tuple(kspace.shape)}: give complex [*batch, z, y, x]")
    if axis is not None and axis not in AXES:
        raise ProtocolError(f"axis {axis}: give -3 (z), -2 (y) or -1 (x)")
    if sampled.ndim == 2 and sampled.shape == kspace.shape[-3:-1]:
        lines = {-3: sampled.any(1), -2: sampled.any(0)}
        partial = [one for one, line in lines.items() if not bool(line.all())]
        if axis not in (None, *partial) or not partial or (axis is None and len(partial) > 1):
            raise ProtocolError(
                f"the mask misses samples along axes {partial or 'none'}, asked for {axis}: "
                "give the one axis to complete"
            )
        axis = partial[0] if axis is None else axis
        if not torch.equal(sampled, lines[-3][:, None] & lines[-2]):
            raise ProtocolError("samples are missing within the scanned side: fill them first with recon.grappa")
        return axis, *sampled_span(lines[axis].cpu())
    if sampled.ndim != 1 or axis is None or len(sampled) != kspace.shape[axis]:
        raise ShapeError(
            f"sampled is {tuple(sampled.shape)} for k-space {tuple(kspace.shape)} and axis {axis}: "
            "give [z, y], or [n] along the axis"
        )
    return axis, *sampled_span(sampled.cpu())


def _weights(n: int, start: int, stop: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the homodyne weights and the window of the symmetric centre, real ``[n]``."""
    offset = torch.arange(n, dtype=torch.float64, device=like.device) - n // 2
    half = min(n // 2 - start, stop - 1 - n // 2)
    inwards = 1 if start > 0 else -1
    ramp = (offset * inwards / (half + 1)).clamp(-1, 1)
    weights = torch.where((offset + n // 2 >= start) & (offset + n // 2 < stop), 1 + torch.sin(ramp * torch.pi / 2), 0)
    if n % 2 == 0 and start == 0:
        weights[0] = 1
    window = torch.where(offset.abs() <= half, 0.5 + 0.5 * torch.cos(torch.pi * offset / (half + 1)), 0)
    return weights.to(like.real.dtype), window.to(like.real.dtype)
