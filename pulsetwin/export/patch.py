"""Write changed values back into the `.seq` that they came from: every other line stays byte for byte.

Events that other blocks may share are never edited. A block that plays something else points to a new event, appended
to its section; the lines of blocks that change, and of the signature, are the only ones that differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pulsetwin.atomic import atomic_file, require_writable
from pulsetwin.errors import MismatchError, ProtocolError, ShapeError
from pulsetwin.export.findings import CheckReport
from pulsetwin.export.patch_lines import SeqLines, seq_lines
from pulsetwin.export.playable import check
from pulsetwin.export.siemens_values import number, on_circle, whole
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import AXES, NONE, Array
from pulsetwin.sequences.rf import guess_use
from pulsetwin.sequences.seqfile import GX, RF, SeqFile, read_seq
from pulsetwin.sequences.seqtext import load, signature

_DURATION, _FIRST_EVENT = 1, 2  # columns of [BLOCKS]
_AMPLITUDE, _EDGES = 1, (2, 3)  # of events
_SAME = 1e-9  # nine digits are written
_USES = {"e": "an excitation", "r": "a refocusing", "s": "a saturation"}


@dataclass(frozen=True, slots=True)
class Changes:
    """What blocks play otherwise than before; None leaves all as it is.

    Parameters
    ----------
    rf_scale
        Factor of the pulse of each block, float64 ``[block]``; a negative one turns it by pi.
    rf_phase
        Added to the phase offset of the pulse of each block [rad], float64 ``[block]``.
    gradient_scale
        Factor of the gradients along x, y, z, float64 ``[block, 3]``.
    duration
        Duration of each block [s], float64 ``[block]``; that of the file where nothing changes.
    """

    rf_scale: Array | None = None
    rf_phase: Array | None = None
    gradient_scale: Array | None = None
    duration: Array | None = None


def patch(seq: SeqFile, changes: Changes, path: str | Path, *, scanner: Scanner, force: bool = False) -> CheckReport:
    """Write the file of `seq` with `changes` to `path`, read it back and check it; see `patched`.

    Parameters
    ----------
    seq
        What `read_seq` returned.
    changes
        What is to differ.
    path
        The file to appear.
    scanner
        Whose limits hold.
    force
        Whether to replace an existing file.

    Raises
    ------
    ProtocolError
        If the changes cannot be written, a block has no room for its events, or `scanner` cannot play the result:
        nothing is written then.
    OutputExistsError
        If `path` exists and `force` is false.
    """
    require_writable(path, force=force)
    text = patched(seq, changes)
    with atomic_file(path, force=force) as temporary:
        temporary.write_bytes(text)
        report = check(temporary, scanner)
        _require_durations(seq, changes, read_seq(temporary))
        if report.errors:
            raise ProtocolError(
                f"{seq.path.name} with its changes cannot be played by {scanner.name}: "
                f"{'; '.join(' '.join(str(finding).split()) for finding in report.errors[:3])}; change less"
            )
    return report


def _require_durations(seq: SeqFile, changes: Changes, back: SeqFile) -> None:
    """Raise if a block lasts longer than asked, since before 1.4 its events prolong it."""
    asked = seq.block_duration if changes.duration is None else changes.duration
    longer = np.nonzero(np.abs(back.block_duration - asked) > _SAME)[0]
    if len(longer):
        block = int(longer[0])
        raise ProtocolError(
            f"{seq.path.name}: block {seq.number[block]} cannot last {1e3 * asked[block]:g} ms: its events need "
            f"{1e3 * back.block_duration[block]:g} ms"
        )


def patched(seq: SeqFile, changes: Changes) -> bytes:
    """Return the bytes of the file of `seq` with `changes`; without any, they are those of the file.

    Amplitudes and phases are written with nine digits, phases in [0, 2 pi). The definition `TotalDuration` follows
    changed durations. The signature is the MD5 hash of the new text (Pulseq specification 1.5.1).

    Parameters
    ----------
    seq
        What `read_seq` returned; its file must be as it was.
    changes
        What is to differ.

    Raises
    ------
    ShapeError
        If an array of `changes` is not one value a block.
    ProtocolError
        If blocks are to play changed events that they have not, values have no place in the format, a pulse of a
        file before 1.5 would be taken for one of another use, or the file was edited after it was signed.
    MismatchError
        If the file is not the one that was read.
    """
    raw, sections = load(seq.path)
    text = seq_lines(raw, sections)
    stated = next((section for section in sections if section.name == "SIGNATURE"), None)
    if signature(raw, stated)[0] != seq.signature or len(text.data.get("BLOCKS", ())) != len(seq):
        raise MismatchError(f"{seq.path}: is no longer the file that was read: read it again")
    _check_shapes(seq, changes)
    new = [*_pulses(seq, changes, text), *_gradients(seq, changes, text), *_durations(seq, changes, text)]
    if not new:
        return raw
    if seq.signature_valid is False:
        raise ProtocolError(f"{seq.path}: was edited after it was signed, which a new signature would hide; sign it")
    for block, column, word in new:
        text.change("BLOCKS", block, {column: word})
    return text.signed(seq.signature)


def _check_shapes(seq: SeqFile, changes: Changes) -> None:
    for name in Changes.__slots__:
        value, shape = getattr(changes, name), (len(seq), 3) if name == "gradient_scale" else (len(seq),)
        if value is not None and np.shape(value) != shape:
            raise ShapeError(f"{name} is {np.shape(value)}: {seq.path.name} needs {shape}")
        if value is not None and not np.all(np.isfinite(value)):
            raise ProtocolError(f"{name} holds values that are not finite")


def _pulses(seq: SeqFile, changes: Changes, text: SeqLines) -> Iterator[tuple[int, int, str]]:
    """Append the new pulses to `text`; yield block, column of `[BLOCKS]` and the id that is to stand there."""
    scale = np.ones(len(seq)) if changes.rf_scale is None else changes.rf_scale
    turn = np.zeros(len(seq)) if changes.rf_phase is None else changes.rf_phase
    turn = turn + np.where(scale < 0, np.pi, 0.0)
    known: dict[tuple[str, ...], int] = {}
    for block in _changed(seq, RF, np.abs(scale), turn):
        words = _pulse_words(seq, block, abs(float(scale[block])), float(turn[block]))
        row = int(seq.events[block, RF])
        yield block, _FIRST_EVENT + RF, _new_event(text, "RF", row, words, known, seq.rf.id)


def _gradients(seq: SeqFile, changes: Changes, text: SeqLines) -> Iterator[tuple[int, int, str]]:
    """Append the new gradients to `text`; yield as `_pulses` does."""
    if changes.gradient_scale is None:
        return
    traps = int((seq.gradients.kind == "t").sum())
    known: dict[tuple[str, ...], int] = {}
    for axis, scale in enumerate(changes.gradient_scale.T):
        for block in _changed(seq, GX + axis, scale, np.zeros(len(seq))):
            row = int(seq.events[block, GX + axis])
            section, line = ("TRAP", row) if row < traps else ("GRADIENTS", row - traps)
            edges = _EDGES if section == "GRADIENTS" and seq.version >= (1, 5, 0) else ()
            old = text.words(section, line)
            columns = (_AMPLITUDE, *edges)
            words = {column: number(float(scale[block]) * float(old[column]), "amplitude") for column in columns}
            yield block, _FIRST_EVENT + GX + axis, _new_event(text, section, line, words, known, seq.gradients.id)


def _new_event(
    text: SeqLines, section: str, row: int, words: dict[int, str], known: dict[tuple[str, ...], int], ids: Array
) -> str:
    """Return the id of an event that is that of a line of data with other `words`, appended if it is not `known`."""
    key = (section, str(row), *words.values())
    if key not in known:
        known[key] = int(ids.max()) + len(known) + 1
        text.append(section, row, {0: str(known[key]), **words})
    return str(known[key])


def _changed(seq: SeqFile, column: int, scale: Array, turn: Array) -> list[int]:
    """Return the blocks whose event is to be another one; raises where there is none."""
    turned = np.abs(np.remainder(turn + np.pi, 2 * np.pi) - np.pi)
    changed = np.nonzero((np.abs(scale - 1) > _SAME) | (turned > _SAME))[0]
    without = changed[seq.events[changed, column] == NONE]
    if len(without):
        what = "pulse" if column == RF else f"gradient along {AXES[column - GX]}"
        raise ProtocolError(f"{seq.path.name}: block {seq.number[without[0]]} has no {what} to be changed")
    return changed.tolist()


def _pulse_words(seq: SeqFile, block: int, scale: float, turn: float) -> dict[int, str]:
    """Return amplitude and phase of a changed pulse by the column of `[RF]`."""
    row, rf = int(seq.events[block, RF]), seq.rf
    if seq.version < (1, 5, 0):
        stated = seq.definitions.get("B0")
        use = guess_use(
            scale * rf.flip[row], rf.duration[row], rf.freq[row], stated if isinstance(stated, float) else None
        )
        if use != rf.use[row]:
            raise ProtocolError(
                f"{seq.path.name}: the pulse of block {seq.number[block]} would be taken for {_USES[use]} at "
                f"{np.rad2deg(scale * rf.flip[row]):.4g} degrees, since files before 1.5 do not state uses: stay "
                "beyond 90 degrees with refocusings and below with excitations, or write the sequence as 1.5 first"
            )
    column = 10 if seq.version >= (1, 5, 0) else 7 if seq.version >= (1, 4, 0) else 6
    words = {_AMPLITUDE: number(scale * rf.amplitude[row], "amplitude")}
    return words | ({column: on_circle(rf.phase[row] + turn)} if turn else {})


def _durations(seq: SeqFile, changes: Changes, text: SeqLines) -> Iterator[tuple[int, int, str]]:
    """Append new delays where the version has them, change `TotalDuration`; yield as `_pulses` does."""
    if changes.duration is None:
        return
    change = changes.duration - seq.block_duration
    changed = np.nonzero(np.abs(change) > _SAME)[0].tolist()
    if not changed:
        return
    modern = seq.version >= (1, 4, 0)
    raster, unit = (seq.rasters["BlockDurationRaster"], "block rasters") if modern else (1e-6, "us")
    known: dict[tuple[str, ...], int] = {}
    for block in changed:
        try:
            word = str(whole(float(changes.duration[block]), raster, "duration", unit))
        except ValueError as error:
            raise ProtocolError(f"{seq.path.name}, block {seq.number[block]}: {error}") from None
        yield block, _DURATION, word if modern else _delay(seq, block, word, known, text)
    for row in range(len(text.data.get("DEFINITIONS", ()))):
        if text.words("DEFINITIONS", row)[0] == "TotalDuration":
            text.change("DEFINITIONS", row, {1: number(seq.duration + float(change[changed].sum()), "duration")})


def _delay(seq: SeqFile, block: int, word: str, known: dict[tuple[str, ...], int], text: SeqLines) -> str:
    """Return the id of a delay [us] of a file before 1.4."""
    played = text.words("BLOCKS", block)[_DURATION]
    ids = [text.words("DELAYS", row)[0] for row in range(len(text.data.get("DELAYS", ())))]
    if played not in ids:
        raise ProtocolError(f"{seq.path.name}: block {seq.number[block]} has no delay to be changed")
    return _new_event(text, "DELAYS", 0, {1: word}, known, np.array(ids, np.int64))
