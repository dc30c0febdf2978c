"""Attach a `.seq` to raw data: the k-th ADC event made the k-th readout, and everything that can be checked is.

Count and length must agree. The signature tells whether the scanner played this very file; where it cannot tell, the
dwell time of the raw header must agree. The time stamps of the readouts (2.5 ms ticks) check the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulsetwin.errors import MismatchError
from pulsetwin.sequences.readouts import PlayedReadouts, played_readouts
from pulsetwin.sequences.seqfile import SeqFile, read_seq

TICKS = 0.0101
"""Tolerance of a time stamp [s]: four ticks of 2.5 ms."""
DRIFT = 1e-4
"""Tolerated relative error of the scanner's clock."""
_TRUST = "pass the .seq that was played, or trust_seq=True (--trust-seq) if you know that it is"


@dataclass(frozen=True, slots=True)
class RawFacts:
    """What a raw file says that a `.seq` can be checked against.

    Parameters
    ----------
    path
        The raw file.
    samples
        Samples of each readout, int ``[readout]``.
    noise
        Whether the scanner marked the readout as noise adjustment, bool ``[readout]``.
    time
        Time stamp of each readout [s], ``[readout]``, or None if there is none.
    dwell
        Dwell time that the header states [s], 0 if none.
    signature
        Signature of the `.seq` that the header states, empty if none.
    complete
        Whether the file is undamaged to its end.
    """

    path: Path
    samples: np.ndarray
    noise: np.ndarray
    time: np.ndarray | None = None
    dwell: float = 0.0
    signature: str = ""
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Matched:
    """A `.seq` attached to raw data.

    Parameters
    ----------
    seq
        The sequence.
    played
        Its ADC events.
    readout, event
        Which raw readout belongs to which event, int ``[pair]``; the scanner's own noise adjustment belongs to none.
    warnings
        One sentence for each doubt.
    """

    seq: SeqFile
    played: PlayedReadouts
    readout: np.ndarray
    event: np.ndarray
    warnings: tuple[str, ...]


def match(raw: RawFacts, path: str | Path, *, partial: bool = False, trust_seq: bool = False) -> Matched:
    """Match the readouts of a raw file with the ADC events of the `.seq` at `path`.

    Parameters
    ----------
    raw
        What the raw file says.
    path
        The `.seq`.
    partial
        Allow fewer readouts than events: the first events are matched.
    trust_seq
        Make a mismatch of signature, dwell time or time stamps a warning instead of an error.

    Raises
    ------
    MismatchError
        If the two files do not belong together; the message says which of them looks wrong and why.
    """
    seq = read_seq(path)
    played = played_readouts(seq)
    confirmed, doubts = _signatures(raw, seq)
    readout, event = _pair(raw, seq, played, confirmed, partial)
    _lengths(raw, seq, played, readout, event)
    if not confirmed:
        doubts += _dwell(raw, seq, played)
    notes = _times(raw, seq, played, readout, event)
    if doubts and not trust_seq:
        raise MismatchError(f"{'; '.join(doubts)}; {_TRUST}")
    notes = [f"{doubt}: trusted as asked." for doubt in doubts] + notes + [f"{note}." for note in seq.warnings]
    if len(raw.samples) < len(played) and event[-1] < len(played) - 1:
        notes.append(f"{len(event)} of the {len(played)} readouts that {seq.path.name} plays are there and were used.")
    if not confirmed and not doubts:
        notes.append(
            f"Nothing confirms that {raw.path.name} was played from {seq.path.name}: no signature in one of them."
        )
    return Matched(seq, played, readout, event, tuple(notes))


def _signatures(raw: RawFacts, seq: SeqFile) -> tuple[bool, list[str]]:
    """Return whether the signatures confirm the pair, and what speaks against it."""
    if seq.signature_valid is False:
        return False, [f"{seq.path}: looks wrong: it was edited after it was signed"]
    if not raw.signature or not seq.signature:
        return False, []
    if raw.signature == seq.signature.lower():
        return True, []
    return False, [
        f"{seq.path}: looks wrong: its signature is {seq.signature}, but {raw.path} was played from {raw.signature}"
    ]


def _pair(
    raw: RawFacts, seq: SeqFile, played: PlayedReadouts, confirmed: bool, partial: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the readouts and the events they belong to, in order."""
    every, own = np.arange(len(raw.samples)), np.nonzero(~raw.noise)[0]
    events = np.arange(len(played))
    encoding = np.nonzero(~played.flags.get("noise", np.zeros(len(played), bool)))[0]
    choices = ((every, events), (own, events), (own, encoding))
    for readout, event in choices:
        if len(readout) == len(event) > 0:
            return readout, event
    if partial:
        for readout, event in choices:
            if (
                0 < len(readout) < len(event)
                and (raw.samples[readout] == played.num_samples[event[: len(readout)]]).all()
            ):
                return readout, event[: len(readout)]
    raise MismatchError(_count_problem(raw, seq, len(own), len(played), confirmed))


def _count_problem(raw: RawFacts, seq: SeqFile, readouts: int, events: int, confirmed: bool) -> str:
    found = f"{raw.path} has {readouts} readouts, but {seq.path} plays {events}"
    if readouts > events:
        again = f" (was the scan repeated {readouts // events} times?)" if events and readouts % events == 0 else ""
        return f"{found}: the .seq looks wrong{again}; pass the .seq that was played"
    if confirmed or not raw.complete:
        reason = "the raw file is damaged" if not raw.complete else "the signatures agree, so readouts were lost"
        return f"{found}: the raw file looks wrong ({reason}); use what is there with partial=True (--partial)"
    return f"{found}: the .seq looks wrong, for the raw file is complete; pass the .seq that was played"


def _lengths(raw: RawFacts, seq: SeqFile, played: PlayedReadouts, readout: np.ndarray, event: np.ndarray) -> None:
    expected = played.num_samples[event]
    bad = np.nonzero(raw.samples[readout] != expected)[0]
    if len(bad):
        k = int(bad[0])
        raise MismatchError(
            f"readout {readout[k] + 1} of {raw.path} has {raw.samples[readout[k]]} samples, but ADC event "
            f"{event[k] + 1} of {seq.path} has {expected[k]}: the .seq looks wrong; pass the .seq that was played"
        )


def _dwell(raw: RawFacts, seq: SeqFile, played: PlayedReadouts) -> list[str]:
    if raw.dwell <= 0 or np.isclose(raw.dwell, played.dwell, rtol=1e-3).any():
        return []
    own = f"{1e6 * played.dwell[0]:g} us"
    return [f"{seq.path}: looks wrong: its dwell time is {own}, but {raw.path} states {1e6 * raw.dwell:g} us"]


def _times(raw: RawFacts, seq: SeqFile, played: PlayedReadouts, readout: np.ndarray, event: np.ndarray) -> list[str]:
    """Compare the time stamps with the times of the events, up to a constant."""
    if raw.time is None or len(readout) < 2:
        return []
    expected = played.start_time[event]
    late = raw.time[readout] - expected
    late = late - np.median(late)
    tolerance = TICKS + DRIFT * np.abs(expected - np.median(expected))
    bad = np.nonzero(np.abs(late) > tolerance)[0]
    if not len(bad):
        return []
    k = int(bad[0])
    return [
        f"The time stamps of {len(bad)} of {len(readout)} readouts in {raw.path.name} do not fit {seq.path.name}, "
        f"first readout {readout[k] + 1} by {late[k]:+.4g} s: triggered, paused, or the wrong pair."
    ]
