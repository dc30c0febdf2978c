"""The table that sorts Bruker data: for each readout its labels, its time and its place in k-space.

Bruker's data have no counters of Pulseq labels: readouts come in the order of play. This table stands beside the `.seq`
and names it by its SHA-256.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pulsetwin.errors import FileError, MismatchError
from pulsetwin.export.summary import file_facts
from pulsetwin.rawdata import Trajectory
from pulsetwin.sequences.events import NONE, Array
from pulsetwin.sequences.readouts import PlayedReadouts, played_readouts
from pulsetwin.sequences.seqfile import ADC, SeqFile


def index_table(seq: SeqFile, written: SeqFile, name: str) -> dict[str, Any]:
    """Return the index table of a sequence.

    Parameters
    ----------
    seq
        The sequence with its labels.
    written
        The same as it goes to the scanner, without labels; its block numbers and its SHA-256 are stated.
    name
        The name that the file will have.
    """
    played = played_readouts(seq)
    first, last = _ends(played)
    return {
        "seq": name,
        "sha256": file_facts(written.path)["sha256"],
        "readouts": len(played),
        "samples": played.num_samples,
        "dwell [s]": played.dwell,
        "block": written.number[written.events[:, ADC] != NONE],
        "first sample at [s]": played.start_time,
        "labels": played.labels,
        "flags": played.flags,
        "k of first sample [1/m]": first,
        "k of last sample [1/m]": last,
    }


def read_index(path: str | Path, seq: str | Path) -> dict[str, Any]:
    """Read an index table, whose lists become arrays, and check that it belongs to `seq`.

    Raises
    ------
    FileError
        If the table is missing or damaged.
    MismatchError
        If it was written for another `.seq`.
    """
    try:
        table = json.loads(Path(path).read_text("utf-8"))
        stated, count = table["sha256"], table["readouts"]
        for name, values in table.items():
            if isinstance(values, list) and len(values) != count:
                raise ValueError(f"{name} has {len(values)} entries, not {count}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(path, f"is no index table ({error})", "export the sequence again") from None
    if stated != file_facts(seq)["sha256"]:
        raise MismatchError(f"{path} was written for another .seq than {seq}: take the two files of one export")
    return {name: _arrays(values) for name, values in table.items()}


def _arrays(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _arrays(part) for name, part in values.items()}
    return np.array(values) if isinstance(values, list) else values


def _ends(played: PlayedReadouts) -> tuple[Array, Array]:
    """Return the k-space positions [1/m] of the first and last sample of each readout, float64 ``[readout, 3]``."""
    first, last = np.zeros((2, len(played), 3))
    for count in np.unique(played.num_samples):
        events = np.nonzero(played.num_samples == count)[0]
        trajectory = played.trajectory(events)
        first[events], last[events] = _sample(trajectory, 0), _sample(trajectory, -1)
    return first, last


def _sample(trajectory: Trajectory, sample: int) -> Array:
    return np.asarray(trajectory.shapes[trajectory.shape_index, sample] + trajectory.offset)
