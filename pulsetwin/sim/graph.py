"""Structure of a phase distribution graph: which states exist after each pulse, and which of them make which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z0, Z, PLUS = 0, 1, 2
Z_TO_Z, Z_TO_PLUS, Z_TO_PLUS_CONJ, PLUS_TO_PLUS, PLUS_TO_PLUS_CONJ, PLUS_TO_Z, PLUS_TO_Z_CONJ = range(7)
EDGE_SIGN = np.array([1, 1, -1, 1, -1, 1, -1], dtype=np.int8)  # of the child's k and tau against the parent's
# Incommensurate with the rasters of scanners, so that values of a raster never lie where rounding is undecided.
K_GRID, TAU_GRID = 0.00618034, 0.618034e-7


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """States of magnetisation after each pulse, and the edges along which a pulse makes them from those before.

    With ``q = 2 pi (k_s r + tau_s b0)``, transverse magnetisation is the sum over the PLUS states ``m_s exp(-i q)``,
    and longitudinal magnetisation that over the Z states ``m_s exp(-i q) + conj(m_s) exp(i q)`` (one of k and -k is
    stored) plus Z0, the only state that regrows. Pulse `r` of flip angle a and phase p makes
    ``m_child = sum over its edges factor * m_parent`` (or of ``conj(m_parent)``; then the child has -k and -tau):

    | edge type | factor | parent |
    |---|---|---|
    | 0 Z_TO_Z | cos a | m |
    | 1 Z_TO_PLUS | -i sin a exp(ip) | m |
    | 2 Z_TO_PLUS_CONJ | -i sin a exp(ip) | conj m |
    | 3 PLUS_TO_PLUS | cos^2(a/2) | m |
    | 4 PLUS_TO_PLUS_CONJ | sin^2(a/2) exp(2ip) | conj m |
    | 5 PLUS_TO_Z | -i/2 sin a exp(-ip) | m |
    | 6 PLUS_TO_Z_CONJ | i/2 sin a exp(ip) | conj m |

    States are numbered by repetition, and in each one Z0 first, then Z, then PLUS. Row 0 is the equilibrium before the
    first pulse, a lone Z0 of amplitude 1, and row ``r + 1`` the states from pulse `r` to the end of its repetition.

    Parameters
    ----------
    row_start
        First state of each row and the total, int32 ``[pulse + 2]``.
    plus_start
        First PLUS state of each row (the row's end if there is none), int32 ``[pulse + 1]``.
    kind
        Z0, Z or PLUS, int8 ``[state]``.
    edge_start
        First incoming edge of each state and the total, int32 ``[state + 1]``. The first edge of a state is its
        strongest in the pre-pass: k and tau of the state are those of its parent, with the sign of the edge type
        (`EDGE_SIGN`); Z0 has k = 0 and tau = 0.
    edge_parent
        State that each edge comes from, int32 ``[edge]``.
    edge_type
        int8 ``[edge]``.
    weight
        Magnitude of each state after its pulse in the pre-pass with the mean tissue, float32 ``[state]``.
    dropped
        States that were left out to stay within `max_states`; those they would have made are not counted.
    lost
        Largest share of the magnetisation's norm after a pulse that was left out with them, in the pre-pass.
    """

    row_start: NDArray[np.int32]
    plus_start: NDArray[np.int32]
    kind: NDArray[np.int8]
    edge_start: NDArray[np.int32]
    edge_parent: NDArray[np.int32]
    edge_type: NDArray[np.int8]
    weight: NDArray[np.float32]
    dropped: int = 0
    lost: float = 0.0

    @property
    def states(self) -> int:
        """Number of states, the equilibrium included."""
        return len(self.kind)

    @property
    def rows(self) -> int:
        """Number of rows, pulses + 1."""
        return len(self.plus_start)


def select_states(graph: Graph, keep: NDArray[np.bool_], sampled: NDArray[np.bool_]) -> Graph:
    """Return the graph without the states outside of `keep` and those that thereby have no parent or no use.

    Parameters
    ----------
    graph
        The graph.
    keep
        bool ``[state]``; Z0 states stay in any case.
    sampled
        Whether samples are taken in the repetition of each row, bool ``[pulse + 1]``.
    """
    child = np.repeat(np.arange(graph.states), np.diff(graph.edge_start))
    alive = keep | (graph.kind == Z0)
    edges = [slice(graph.edge_start[a], graph.edge_start[b]) for a, b in _bounds(graph.row_start)]
    for part in edges[1:]:
        fed = np.zeros(graph.states, dtype=bool)
        fed[child[part][alive[graph.edge_parent[part]]]] = True
        row = np.unique(child[part])
        alive[row] &= fed[row]
    useful = (graph.kind == Z0) | (np.repeat(sampled, np.diff(graph.row_start)) & (graph.kind == PLUS))
    for part in reversed(edges):
        useful[graph.edge_parent[part][alive[child[part]] & useful[child[part]]]] = True
    return _subgraph(graph, alive & useful, child)


def _bounds(starts: NDArray[np.int32]) -> list[tuple[int, int]]:
    return list(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))


def _subgraph(graph: Graph, keep: NDArray[np.bool_], child: NDArray[np.int64]) -> Graph:
    number = np.cumsum(keep) - 1
    edges = keep[child] & keep[graph.edge_parent]
    starts = np.concatenate(([0], np.cumsum(keep)))[graph.row_start].astype(np.int32)
    return Graph(
        row_start=starts, plus_start=first_plus(graph.kind[keep], starts), kind=graph.kind[keep],
        edge_start=edge_starts(number[child[edges]], int(keep.sum())),
        edge_parent=number[graph.edge_parent[edges]].astype(np.int32), edge_type=graph.edge_type[edges],
        weight=graph.weight[keep], dropped=graph.dropped, lost=graph.lost,
    )  # fmt: skip


def edge_starts(owner: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """Return the first edge of each of `count` states and the total, given the sorted state of each edge."""
    return np.searchsorted(owner, np.arange(count + 1)).astype(np.int32)


def first_plus(kind: NDArray[np.int8], row_start: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the first PLUS state of each row."""
    plus = np.concatenate(([0], np.cumsum(kind == PLUS)))
    return (row_start[1:] - (plus[row_start[1:]] - plus[row_start[:-1]])).astype(np.int32)
