"""Attach a `.seq` to raw data: the k-th ADC event made the k-th readout, and everything that can be checked is.

Count and length must agree. The signature tells whether the scanner played this very file; where it cannot tell, the dwell
time of the raw header must agree. The time stamps of the readouts (2.5 ms ticks) check the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulsetwin.errors import MismatchError
from pulsetwin.rawdata import LABELS
from pulsetwin.sequences.readouts import PlayedReadouts, played_readouts
from pulsetwin.sequences.seqfile import SeqFile, read_seq

COUNTED = LABELS
"""Labels that count; the others are flags."""
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
        Which raw readout belongs to which event, int ``[pair]``; readouts of the scanner's own noise adjustment have none.
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
    readout = _pair(raw, seq, played, confirmed, partial)
    event = np.arange(len(readout))
    _lengths(raw, seq, played, readout)
    if not confirmed:
        doubts += _dwell(raw, seq, played)
    notes = _times(raw, seq, played, readout)
    if doubts and not trust_seq:
        raise MismatchError(f"{'; '.join(doubts)}; {_TRUST}")
    notes = [f"{doubt}: trusted as asked." for doubt in doubts] + notes + [f"{note}." for note in seq.warnings]
    if len(event) < len(played):
        notes.append(f"{len(event)} of the {len(played)} readouts that {seq.path.name} plays are there and were used.")
    if not confirmed and not doubts:
        notes.append(f"Nothing confirms that {raw.path.name} was played from {seq.path.name}: no signature in one of them.")
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


def _pair(raw: RawFacts, seq: SeqFile, played: PlayedReadouts, confirmed: bool, partial: bool) -> np.ndarray:
    """Return the readouts that belong to the events, in order."""
    every, events = np.arange(len(raw.samples)), len(played)
    own = np.nonzero(~raw.noise)[0]
    for candidate in (every, own):
        if len(candidate) == events and events:
            return candidate
    if partial and 0 < len(own) < events:
        fits = len(every) < events and _fits(raw, played, every)
        return every if fits or not _fits(raw, played, own) else own
    found = f"{raw.path} has {len(own)} readouts, but {seq.path} plays {events}"
    if len(own) > events:
        times = len(own) / max(events, 1)
        again = f" (the scan was repeated {times:.0f} times?)" if events and times == round(times) else ""
        raise MismatchError(f"{found}: the .seq looks wrong{again}; pass the .seq that was played")
    if confirmed or not raw.complete:
        reason = "their signatures agree" if confirmed else "the raw file is damaged"
        remedy = "use what is there with partial=True (--partial), or scan again"
        raise MismatchError(f"{found}: the raw file looks wrong ({reason}, so readouts were lost); {remedy}")
    raise MismatchError(f"{found}: the .seq looks wrong, for the raw file is complete; pass the .seq that was played")


def _fits(raw: RawFacts, played: PlayedReadouts, readout: np.ndarray) -> bool:
    return bool((raw.samples[readout] == played.num_samples[: len(readout)]).all())


def _lengths(raw: RawFacts, seq: SeqFile, played: PlayedReadouts, readout: np.ndarray) -> None:
    expected = played.num_samples[: len(readout)]
    bad = np.nonzero(raw.samples[readout] != expected)[0]
    if len(bad):
        k = int(bad[0])
        raise MismatchError(
            f"readout {readout[k] + 1} of {raw.path} has {raw.samples[readout[k]]} samples, but ADC event {k + 1} of "
            f"{seq.path} has {expected[k]}: the .seq looks wrong; pass the .seq that was played"
        )


def _dwell(raw: RawFacts, seq: SeqFile, played: PlayedReadouts) -> list[str]:
    if raw.dwell <= 0 or np.isclose(raw.dwell, played.dwell, rtol=1e-3).any():
        return []
    own = f"{1e6 * played.dwell[0]:g} us"
    return [f"{seq.path}: looks wrong: its dwell time is {own}, but {raw.path} states {1e6 * raw.dwell:g} us"]


def _times(raw: RawFacts, seq: SeqFile, played: PlayedReadouts, readout: np.ndarray) -> list[str]:
    """Compare the time stamps with the times of the events, up to a constant."""
    if raw.time is None or len(readout) < 2:
        return []
    expected = played.start_time[: len(readout)]
    late = raw.time[readout] - expected
    late = late - np.median(late)
    tolerance = TICKS + DRIFT * np.abs(expected - np.median(expected))
    bad = np.nonzero(np.abs(late) > tolerance)[0]
    if not len(bad):
        return []
    k = int(bad[0])
    return [
        f"The time stamps of {len(bad)} of {len(readout)} readouts in {raw.path.name} do not fit {seq.path.name}, first "
        f"readout {readout[k] + 1} by {late[k]:+.4g} s: triggered, paused, or the wrong pair."
    ]
