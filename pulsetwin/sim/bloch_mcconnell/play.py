"""Simulate a sequence with exchange, differentiably."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pulsetwin.errors import ProtocolError, ShapeError
from pulsetwin.sequences.events import Array
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.sim.bloch_mcconnell.compile_seq import compile_seq
from pulsetwin.sim.bloch_mcconnell.entries import OBSERVED, differentiate_entries
from pulsetwin.sim.bloch_mcconnell.generators import Values
from pulsetwin.sim.bloch_mcconnell.pool_model import PoolModel
from pulsetwin.sim.bloch_mcconnell.program import Program
from pulsetwin.sim.bloch_mcconnell.propagate import propagate


def simulate(
    seq: SeqFile,
    model: PoolModel,
    parameters: Mapping[str, Tensor] | None = None,
    *,
    mode: str = "physical",
    observe: str = "z",
    reset: bool | None = None,
    spoiled: bool = False,
    isochromats: Array | None = None,
) -> Tensor:
    """Return the magnetisation of water at each block with samples.

    Parameters
    ----------
    seq
        The sequence.
    model
        Pools and field.
    parameters
        Values in place of the model's: ``t1``, ``t2`` [s], ``b0_shift`` [ppm], ``b1``, and ``<pool>.fraction``,
        ``.exchange_rate`` [1/s], ``.shift`` [ppm], ``.t1``, ``.t2`` [s]. They are broadcast to ``[...]``; the result is
        differentiable in each once; on devices other than the CPU, any number of times.
    mode, reset, spoiled, isochromats
        As of `compile_seq`.
    observe
        ``z`` for the signed longitudinal magnetisation, ``transverse`` for ``x + i y`` in the frame of the carrier.

    Returns
    -------
    Tensor
        ``[..., record]`` relative to water in equilibrium, float64 or complex128.

    Raises
    ------
    ProtocolError
        If a parameter, the mode or what is observed is unknown, a value makes no sense, or nothing is measured.
    MismatchError
        If the model's field is not that of the sequence.
    ShapeError
        If the parameters cannot be broadcast together.
    """
    program = compile_seq(seq, model, mode=mode, reset=reset, spoiled=spoiled, isochromats=isochromats)
    return play(program, model, parameters, observe=observe)


def excited(
    seq: SeqFile,
    model: PoolModel,
    parameters: Mapping[str, Tensor] | None = None,
    *,
    mode: str = "physical",
    spoiled: bool = False,
) -> tuple[Tensor, Array]:
    """Return the transverse magnetisation of water at the end of each pulse with samples before the next one.

    This is what a readout encodes: the magnetisation is carried through the whole scan, and what gradients leave is
    gone at the next pulse. Gradients during a pulse are not played: the pulse acts as in the middle of its slice.
    Magnetisation of a higher frequency turns by ``exp(+ 2 pi i f t)``.

    Parameters
    ----------
    seq, model, parameters, mode, spoiled
        As of `simulate`.

    Returns
    -------
    Tensor
        ``[..., excitation]``, complex128, in the frame of the carrier.
    ndarray
        Row of each excitation's block in the sequence, int64 ``[excitation]``.

    Raises
    ------
    ProtocolError, MismatchError, ShapeError
        As `simulate`.
    """
    program = compile_seq(seq, model, mode=mode, reset=False, spoiled=spoiled, at_excitations=True)
    return play(program, model, parameters, observe="transverse"), program.record_block


def play(
    program: Program, model: PoolModel, parameters: Mapping[str, Tensor] | None = None, *, observe: str = "z"
) -> Tensor:
    """Return what `simulate` does, of a program.

    On the CPU the compiled kernel plays it and carries first derivatives along, in as many threads as torch has; on
    other devices tensor operations do.
    """
    if observe not in OBSERVED:
        raise ProtocolError(f"observe = {observe!r}: give one of {', '.join(OBSERVED)}")
    given, shape = _entries(model, parameters or {})
    if any(value.device.type != "cpu" for value in given.values()):
        signal = propagate(program, model, with_defaults(model, given), observe)
    else:
        count = math.prod(shape)
        columns = [value.expand(shape).reshape(count) for value in given.values()]
        if not torch.is_grad_enabled():
            columns = [column.detach() for column in columns]  # or derivatives would be computed for nothing
        signal = _Compiled.apply(program, model, observe, tuple(given), count, *columns)
    return signal.reshape(*shape, program.records)


class _Compiled(torch.autograd.Function):
    """The compiled kernel; derivatives are computed with the signals, and only those that are asked for."""

    @staticmethod
    def forward(
        ctx: Any, program: Program, model: PoolModel, observe: str, names: tuple[str, ...], count: int, *values: Tensor
    ) -> Tensor:
        table = torch.stack(values, 1) if values else torch.zeros(count, 0)
        wanted = [name for name, need in zip(names, ctx.needs_input_grad[5:], strict=True) if need]
        signal, slopes = differentiate_entries(
            program, model, names, table.numpy(), wanted, observe=observe, threads=torch.get_num_threads()
        )
        ctx.save_for_backward(torch.from_numpy(slopes))
        return torch.from_numpy(signal.copy())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        parts = iter((slopes.conj() * gradient[..., None]).real.sum(1).unbind(1))
        return (None,) * 5 + tuple(next(parts) if need else None for need in ctx.needs_input_grad[5:])


def _entries(model: PoolModel, given: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], torch.Size]:
    """Return the given parameters, float64, and the shape of the entries."""
    own = dict(model.parameters())
    unknown = set(given) - set(own)
    if unknown:
        raise ProtocolError(f"parameter {min(unknown)!r} is unknown: the model has {', '.join(own)}")
    tensors = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in given.items()}
    try:
        return tensors, torch.broadcast_shapes(*(value.shape for value in tensors.values()))
    except RuntimeError:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in tensors.items())
        raise ShapeError(f"parameters cannot be broadcast together: {shapes}") from None


def with_defaults(model: PoolModel, given: Mapping[str, Tensor]) -> Values:
    """Return all parameters, ``[entry]``, with the model's values where none are given."""
    shape = torch.broadcast_shapes(*(value.shape for value in given.values()))
    device = next((value.device for value in given.values()), torch.device("cpu"))
    own = {name: torch.tensor(v, dtype=torch.float64, device=device) for name, v in model.parameters()}
    return {name: value.expand(shape).reshape(-1) for name, value in (own | dict(given)).items()}
