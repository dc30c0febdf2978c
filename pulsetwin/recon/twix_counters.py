"""What Siemens' own counters say: labels, flags, the k-space of Cartesian scans, and what is missing.

A Cartesian readout of line l and partition p follows ``k = ((j - c) dk_x, (l - l_c) dk_y, (p - p_c) dk_z)`` over its
samples j, with the centres c, l_c and p_c from the readout's header and ``dk = 1 / FOV`` from the protocol.
"""

from __future__ import annotations

import numpy as np

from pulsetwin.errors import TwixError
from pulsetwin.rawdata import Trajectory
from pulsetwin.recon.twix_geometry import listed_slices
from pulsetwin.recon.twix_header import Header, number
from pulsetwin.recon.twix_mdh import COUNTERS, LABEL_OF_COUNTER, TICK, TICKS_PER_DAY, flagged
from pulsetwin.recon.twix_raid import COPY_AGAIN
from pulsetwin.recon.twix_walk import Walk

_NOT_IMAGING = ("RTFEEDBACK", "HPFEEDBACK", "REFPHASESTABSCAN", "PHASESTABSCAN", "PHASCOR", "NOISEADJSCAN", "noname60")
_PARTS = ("Sli", "Eco", "Set", "Phs", "Rep", "Ave")
_CARTESIAN = 1
_HOUR = TICKS_PER_DAY // 24


def labels(mdh: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scanner's counters as labels, int32 ``[readout]``; those that stay 0 are left out."""
    found = {label: mdh["Counter"][name].astype(np.int32) for name, label in LABEL_OF_COUNTER.items()}
    return {label: values for label, values in found.items() if values.any()}


def flags(mdh: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scanner's marks as flags (`rawdata.FLAGS`), bool ``[readout]``."""
    mask = mdh["EvalInfoMask"]
    noise, correction = flagged(mask, "NOISEADJSCAN"), flagged(mask, "PHASCOR")
    both, reference = flagged(mask, "PATREFANDIMASCAN"), flagged(mask, "PATREFSCAN")
    return {
        "imaging": ~flagged(mask, *_NOT_IMAGING) & (~reference | both),
        "noise": noise,
        "navigator": flagged(mask, "RTFEEDBACK", "HPFEEDBACK", "REFPHASESTABSCAN", "PHASESTABSCAN") & ~correction,
        "phase_correction": correction,
        "reference": reference | both,
        "reversed": flagged(mask, "REFLECT"),
    }


def times(mdh: np.ndarray) -> np.ndarray:
    """Return the time stamps since the first readout [s], float64 ``[readout]``; midnight is no step back."""
    ticks = mdh["TimeStamp"].astype(np.int64)
    step = np.diff(ticks, prepend=ticks[:1])
    midnight = (step < 0) & (step + TICKS_PER_DAY < _HOUR)
    return TICK * np.cumsum(np.where(midnight, step + TICKS_PER_DAY, step)).astype(float)


def check_range(path, found: Walk) -> None:
    """Raise if a counter is too large for the number of readouts, before anything is sized by it."""
    most = 64 + 32 * len(found.mdh)
    for name in COUNTERS[:10]:
        values = found.mdh["Counter"][name]
        k = int(np.argmax(values))
        if values[k] >= most:
            problem = f"counter {name} is {values[k]} in a scan of {len(found.mdh)} readouts"
            raise TwixError(path, problem, COPY_AGAIN, f"byte {found.offset[k]} (readout {k + 1})")


def trajectory(header: Header, mdh: np.ndarray, reversed_: np.ndarray) -> Trajectory | None:
    """Return the k-space positions of Cartesian readouts of one length [1/m], None where the scan is not Cartesian."""
    protocol = header.protocol
    if int(number(protocol, "sKSpace.ucTrajectory", _CARTESIAN)) != _CARTESIAN:
        return None
    step = _steps(header, mdh)
    samples = int(mdh["SamplesInScan"][0])
    centre = _commonest(mdh["CenterCol"])
    forward = (np.arange(samples) - centre) * step[0]
    kx = np.stack([forward, forward[::-1]])
    shapes = np.zeros((2, samples, 3))
    shapes[:, :, 0] = kx - kx[:, samples // 2, None]
    offset = np.zeros((len(mdh), 3))
    offset[:, 0] = kx[reversed_.astype(int), samples // 2]
    offset[:, 1] = (mdh["Counter"]["Lin"].astype(float) - _commonest(mdh["CenterLin"])) * step[1]
    offset[:, 2] = (mdh["Counter"]["Par"].astype(float) - _commonest(mdh["CenterPar"])) * step[2]
    used, index = np.unique(reversed_.astype(int), return_inverse=True)
    return Trajectory(shapes[used], index, offset)


def _steps(header: Header, mdh: np.ndarray) -> tuple[float, float, float]:
    """Return the distance of neighbouring samples, lines and partitions in k-space [1/m]."""
    first = (listed_slices(header) or [{}])[0]
    over = number(header.dicom, "flReadoutOSFactor", 2.0)
    read = 1e-3 * number(first, "dReadoutFOV", 1e3) * (over if over >= 1 else 2.0)
    phase = (
        1e-3 * number(first, "dPhaseFOV", 1e3) * (1 + number(header.protocol, "sKSpace.dPhaseOversamplingForDialog"))
    )
    three = number(header.protocol, "sKSpace.ucDimension") == 4
    slab = (
        1e-3 * number(first, "dThickness", 1e3) * (1 + number(header.protocol, "sKSpace.dSliceOversamplingForDialog"))
    )
    return 1 / max(read, 1e-4), 1 / max(phase, 1e-4), 1 / max(slab, 1e-4) if three else 0.0


def _commonest(values: np.ndarray) -> float:
    found, times_ = np.unique(values, return_counts=True)
    return float(found[np.argmax(times_)])


def doubts(header: Header, mdh: np.ndarray) -> list[str]:
    """Return what the headers of the imaging readouts contradict among themselves, one sentence each."""
    found = []
    for name in ("CenterCol", "CenterLin", "CenterPar"):
        odd = int((mdh[name] != _commonest(mdh[name])).sum())
        if odd:
            found.append(f"{odd} readouts state another {name} than the rest: the commonest was used.")
    if (np.diff(times(mdh)) < 0).any() or (mdh["TimeStamp"] >= TICKS_PER_DAY).any():
        found.append("The readouts' time stamps run backwards or past midnight.")
    for name in COUNTERS[:10]:
        if name != "Lin" and not (name == "Par" and len(np.unique(mdh["Counter"]["Par"])) > 3):
            found += _rare(name, mdh["Counter"][name])
    reverse = flagged(mdh["EvalInfoMask"], "REFLECT")
    if 0 < min(reverse.sum(), (~reverse).sum()) < len(mdh) / 8:
        found.append(f"Only {min(reverse.sum(), (~reverse).sum())} of {len(mdh)} readouts run the other way.")
    extent, stated = int(np.ptp(mdh["Counter"]["Lin"])) + 1, number(header.protocol, "sKSpace.lPhaseEncodingLines", 1)
    if extent < 0.4 * stated:
        found.append(f"The lines span {extent} of the {stated:.0f} that the protocol states.")
    return found + _missing(mdh)


def _rare(name: str, values: np.ndarray) -> list[str]:
    found, count = np.unique(values, return_counts=True)
    rare = found[count * 8 * len(found) < len(values)]
    return [f"Counter {name} is {rare[0]} in very few readouts: perhaps damaged."] if len(rare) else []


def _missing(mdh: np.ndarray) -> list[str]:
    """Report lines that are there for some slice, echo, set, ... and not for others, gaps, and lines measured twice."""
    counter = mdh["Counter"]
    part, example = _number_rows(np.stack([counter[name] for name in _PARTS], 1))
    cell, _ = _number_rows(np.stack([counter["Par"], counter["Lin"]], 1))
    cells = int(cell.max()) + 1
    pairs, times_ = np.unique(part.astype(np.int64) * cells + cell, return_counts=True)
    present = np.bincount(pairs // cells, minlength=len(example))
    found = []
    for k in np.nonzero(present < cells)[0]:
        lost = np.setdiff1d(np.arange(cells), pairs[pairs // cells == k] - k * cells)
        line = counter[int(np.argmax(cell == lost[0]))]
        where = ", ".join(
            f"{name} {value}" for name, value in zip(_PARTS, mdh["Counter"][example[k]][list(_PARTS)], strict=True)
        )
        found.append(f"{len(lost)} lines are missing at {where}: first line {line['Lin']}, partition {line['Par']}.")
        if len(found) == 8:
            found.append(f"Lines are missing at {int((present < cells).sum()) - 8} more places.")
            break
    if times_.min() != times_.max():
        found.append(f"{int((times_ > 1).sum())} lines were measured more than once.")
    return found + _gaps("Lin", counter["Lin"]) + _gaps("Par", counter["Par"])


def _number_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each row among the distinct ones, and where each number occurs first."""
    _, first, index = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return index.reshape(-1), first


def _gaps(name: str, values: np.ndarray) -> list[str]:
    """Report lines that break a regular pattern of lines."""
    lines = np.unique(values).astype(np.int64)
    if len(lines) < 4:
        return []
    step = np.diff(lines)
    usual = int(np.bincount(np.minimum(step, 64)).argmax())
    lost = int((step // usual - 1).clip(0).sum())
    if 0 < lost <= len(lines) // 4:
        return [
            f"{lost} of {len(lines) + lost} values of counter {name} are missing between {lines[0]} and {lines[-1]}."
        ]
    return []
