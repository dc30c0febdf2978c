"""Parameter lists of CEST fingerprinting methods: milliseconds in the file, SI units everywhere else.

A list is a line with the number of images and a row ``TR[ms] B1[uT] offset[ppm] FA[deg] Tsat[ms]`` for each. Two of the
published lists are in seconds, one of them rounded to whole ones, so that a saturation of 0.4 s became none. Such
tables are refused here, read or written. Saturation is played as the file says: simulate `rounded`, not what was asked.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from pulsetwin.atomic import atomic_file
from pulsetwin.errors import FileError, MismatchError, ProtocolError

LARGEST_B1 = 20e-6
SHORTEST_TR, LONGEST_TR = 0.1, 100.0
_COLUMNS = ("tr", "b1", "offset_ppm", "flip_angle", "saturation_time")
_SCALES = np.array([1e3, 1e6, 1.0, 180 / np.pi, 1e3])
_DECIMALS = (3, 2, 3, 2, 3)
_UNITS = ("ms", "uT", "ppm", "deg", "ms")


@dataclass(frozen=True, slots=True)
class CestSchedule:
    """Settings of the images of a CEST fingerprinting scan, one value each, float64 ``[image]``.

    Parameters
    ----------
    tr
        Repetition time, saturation included [s]: 0.1 to 100 s.
    b1
        Amplitude of the saturation [T]: 0 to 20 uT.
    offset_ppm
        Frequency offset of the saturation [ppm].
    flip_angle
        Of the readout [rad]: above 0, at most pi.
    saturation_time
        [s]: above 0 and below `tr`; 0 is allowed where `b1` is 0.

    Raises
    ------
    ProtocolError
        If values are out of range or their numbers differ; it names the image.
    """

    tr: np.ndarray
    b1: np.ndarray
    offset_ppm: np.ndarray
    flip_angle: np.ndarray
    saturation_time: np.ndarray

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, np.atleast_1d(np.asarray(getattr(self, field.name), float)))
        sizes = {field.name: getattr(self, field.name).shape for field in fields(self)}
        if len(set(sizes.values())) > 1 or len(self.tr.shape) != 1 or not self.tr.size:
            raise ProtocolError(f"a CEST schedule needs one value per image in each column, not {sizes}")
        _check(self)

    def __len__(self) -> int:
        return len(self.tr)


def rounded(schedule: CestSchedule) -> CestSchedule:
    """Return the schedule with the digits that a list keeps: TR and Tsat to 1 us, B1 to 0.01 uT, 0.001 ppm, 0.01 deg.

    Raises
    ------
    ProtocolError
        If rounding takes a value out of range, such as a weak B1 to none.
    """
    kept = _from_rows(np.array([[float(word) for word in row.split()] for row in _rows(schedule)]))
    lost = (schedule.b1 > 0) & (kept.b1 == 0)
    if lost.any():
        image = int(np.argmax(lost))
        raise ProtocolError(
            f"image {image + 1}: B1 {1e6 * schedule.b1[image]:g} uT would be written as 0; lists keep 0.01 uT: choose "
            "0 or more"
        )
    return kept


def rounding(schedule: CestSchedule) -> dict[str, float]:
    """Return by how much the list changes each setting at most, in SI units."""
    kept = rounded(schedule)
    changes = {name: np.abs(getattr(kept, name) - getattr(schedule, name)).max() for name in _COLUMNS}
    return {name: float(change) if change > 1e-12 else 0.0 for name, change in changes.items()}


def write_cest_list(schedule: CestSchedule, path: str | Path, *, force: bool = False) -> CestSchedule:
    """Write a schedule as a list in ms, read it back and compare; return it as the scanner will play it.

    Raises
    ------
    ProtocolError
        If rounding takes a value out of range.
    MismatchError
        If what was read back is not what was written.
    OutputExistsError
        If `path` exists and `force` is false.
    """
    kept = rounded(schedule)
    with atomic_file(path, force=force) as temporary:
        temporary.write_bytes("\n".join([str(len(kept)), *_rows(kept), ""]).encode("ascii"))
        back = read_cest_list(temporary)
        if not np.array_equal(_table(back), _table(kept)):
            raise MismatchError(f"{path}: the list was read back differently; check the disk, and write again")
    return kept


def read_cest_list(path: str | Path) -> CestSchedule:
    """Read a list in ms; columns are separated by spaces or tabs.

    Raises
    ------
    FileError
        If it is no such list, or its times look like seconds.
    """
    try:
        lines = [line.split() for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
        rows = np.array([[float(word) for word in line] for line in lines[1:]])
        count = int(lines[0][0])
    except (OSError, ValueError, IndexError) as error:
        raise FileError(path, f"is no CEST list ({error})", _REMEDY) from None
    if len(lines[0]) != 1 or rows.shape != (count, len(_COLUMNS)):
        raise FileError(path, f"says {' '.join(lines[0])} images, but holds {rows.shape} values", _REMEDY)
    try:
        return _from_rows(rows)
    except ProtocolError as error:
        raise FileError(path, str(error), "correct it, or export it again") from None


_REMEDY = "the first line is the number of images, each further one TR[ms] B1[uT] offset[ppm] FA[deg] Tsat[ms]"


def read_cest_table(path: str | Path) -> CestSchedule:
    """Read a schedule from a table with commas whose first line names the columns, all in SI units but the ppm.

    Raises
    ------
    FileError
        If a column is missing or unknown, or a value is no number.
    """
    try:
        head, *lines = [line.split(",") for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
        names = [word.strip() for word in head]
        if sorted(names) != sorted(_COLUMNS):
            raise ValueError(f"its columns are {', '.join(names)}")
        columns = dict(zip(names, np.array([[float(word) for word in line] for line in lines]).T, strict=True))
    except (OSError, ValueError) as error:
        raise FileError(path, f"is no CEST table ({error})", f"give the columns {','.join(_COLUMNS)}") from None
    return CestSchedule(**columns)


def _table(schedule: CestSchedule) -> np.ndarray:
    return np.stack(astuple(schedule), axis=1)


def _rows(schedule: CestSchedule) -> list[str]:
    """Return the rows of a list, no digits more than needed but two of B1."""
    rows = []
    for values in _table(schedule) * _SCALES:
        words = [f"{value:.{digits}f}" for value, digits in zip(values, _DECIMALS, strict=True)]
        short = [word if column == 1 else word.rstrip("0").rstrip(".") for column, word in enumerate(words)]
        rows.append(" ".join("0" if word == "-0" else word for word in short))
    return rows


def _from_rows(rows: np.ndarray) -> CestSchedule:
    return CestSchedule(*(rows / _SCALES).T)


def _check(schedule: CestSchedule) -> None:
    """Raise at the first image whose values cannot be meant."""
    tr, b1, saturation = schedule.tr, schedule.b1, schedule.saturation_time
    seconds = f"TR is below {SHORTEST_TR:g} s: these look like seconds where milliseconds belong, or are divided twice"
    rules = (
        (~np.isfinite(_table(schedule)).all(axis=1), "a value is not finite"),
        (tr < SHORTEST_TR, seconds),
        (tr > LONGEST_TR, f"TR is above {LONGEST_TR:g} s: these look like milliseconds where seconds belong"),
        ((b1 < 0) | (b1 > LARGEST_B1), f"B1 is not in 0..{1e6 * LARGEST_B1:g} uT (give it in T)"),
        ((schedule.flip_angle <= 0) | (schedule.flip_angle > np.pi + 1e-9), "the flip angle is not in 0..180 degrees"),
        ((saturation < 0) | (saturation >= tr), "the saturation is not between 0 and TR"),
        ((saturation == 0) & (b1 > 0), "B1 is above 0, but the saturation lasts 0: it was rounded away"),
    )
    for broken, problem in rules:
        if broken.any():
            image = int(np.argmax(broken))
            values = _table(schedule)[image] * _SCALES
            shown = ", ".join(f"{value:g} {unit}" for value, unit in zip(values, _UNITS, strict=True))
            raise ProtocolError(f"image {image + 1} (TR, B1, offset, FA, Tsat = {shown}): {problem}; correct the table")
