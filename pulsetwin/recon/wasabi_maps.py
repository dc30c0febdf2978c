"""Maps of the shift of B0 and of relative B1 from WASABI images and their `.seq`."""

from __future__ import annotations

import math

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.progress import Progress, silent
from pulsetwin.recon.b1 import RANGE
from pulsetwin.recon.cest_offsets import larmor, m0_images, offsets, preparing_pulses, split
from pulsetwin.recon.definitions import stated_numbers
from pulsetwin.recon.levenberg import Fitted
from pulsetwin.recon.voxels import Voxels, voxels
from pulsetwin.recon.wasabi import T1_RANGE, Pulse, fit_wasabi, fit_wasabiti
from pulsetwin.sequences.seqfile import SeqFile
from pulsetwin.volume import Images, Maps

_LONGEST = 0.05  # of a pulse during which relaxation may be left to c and d [s]
_NARROW = 1e-3  # from an end of a range, of the range, within which a value counts as at the end


def map_wasabi(images: Images, seq: SeqFile, progress: Progress = silent) -> Maps:
    """Return ``B0`` [Hz], ``B0_ppm``, ``B1``, ``c`` and ``d``, or ``T1`` of a WASABITI, each with its deviation.

    B0 is the shift of water from the frequency of the scanner, positive where water is at a higher one. B1 is relative
    to the nominal one. c and d are relative to M0 where it was measured. Deviations ``_std`` are those for noise as
    large as what the fit leaves, ``residual`` its root mean square relative to the largest value of a voxel's data.

    Parameters
    ----------
    images
        Of all offsets, in order of play, M0 included or not.
    seq
        The `.seq` that was played: any whose images follow a constant pulse each, of the offsets `offsets_ppm` or the
        pulses' own. A WASABITI is told by its name, and needs M0 and the definition ``Trec``.
    progress
        Called with voxels done, their number and what is done.

    Raises
    ------
    ProtocolError
        If the `.seq` is no WASABI, or M0 is missing from a WASABITI.
    ShapeError
        If there are not as many images as offsets.
    """
    prepared = preparing_pulses(seq)
    ppm = offsets(seq, prepared)
    m0, others = split(len(images.values), ppm, m0_images(ppm, seq))
    found = voxels(images, int(m0[0]) if len(m0) else None)
    pulse = _pulse(seq, int(prepared[0]), ppm[~m0_images(ppm, seq)] * larmor(seq))
    data, said = found.data[:, others], []
    if len(m0):
        level = found.data[:, m0].mean(1, keepdims=True)
        data = data / np.where(level > 0, level, np.inf)
    if _is_wasabiti(seq):
        if not len(m0):
            raise ProtocolError("WASABITI: T1 is seen relative to M0, which is not among the images: give all of them")
        fitted = fit_wasabiti(data, pulse, _recovery(seq, ppm), signed=found.signed, progress=progress)
        names = [("B1", ""), ("B0", "Hz"), ("T1", "s")]
    else:
        if not len(m0):
            said.append("WASABI: there is no M0 image: c and d are in units of the images.")
        fitted = fit_wasabi(data, pulse, signed=found.signed, progress=progress)
        names = [("B1", ""), ("B0", "Hz"), ("c", ""), ("d", "")]
    return _maps(found, data, fitted, names, pulse, larmor(seq), said)


def _maps(
    found: Voxels, data: np.ndarray, fitted: Fitted, names: list[tuple[str, str]], pulse: Pulse, megahertz: float,
    said: list[str],
) -> Maps:  # fmt: skip
    """Return the maps of a fit, and what is to be said of them."""
    values, deviation = fitted.values, fitted.deviation
    ends = {"B1": RANGE, "B0": (pulse.offsets.min(), pulse.offsets.max()), "T1": T1_RANGE}
    valid = data.any(1) & np.isfinite(values).all(0) & np.isfinite(deviation).all(0)
    for (name, _), value in zip(names, values, strict=True):
        if name in ends:
            low, high = ends[name]
            margin = _NARROW * (high - low) if name != "T1" else 0
            valid &= (value > low + margin) & (value < high - margin)
    maps = {name: (value, unit) for (name, unit), value in zip(names, values, strict=True)}
    maps["B0_ppm"] = values[1] / megahertz, "ppm"
    maps |= {f"{name}_std": (value, unit) for (name, unit), value in zip(names, deviation, strict=True)}
    maps["B0_ppm_std"] = deviation[1] / megahertz, "ppm"
    maps["residual"] = np.sqrt(fitted.misfit / data.shape[1]), ""
    if not valid.all():
        said.append(f"{1 - valid.mean():.1%} of the voxels have no M0, or B0 or B1 at the end of its range: not valid.")
    return Maps(found.volumes(maps, valid), tuple(said))


def _pulse(seq: SeqFile, row: int, offset: np.ndarray) -> Pulse:
    """Return the pulse of a WASABI, without what its shape has before and after."""
    rf = seq.rf
    nutation = abs(float(rf.amplitude[row]))
    duration = float(rf.flip[row]) / (2 * math.pi * nutation) if nutation else 0.0
    levels = seq.shapes[rf.magnitude[row]].value
    if not duration or np.any((np.abs(levels) > 1e-6) & (np.abs(levels - 1) > 1e-6)):
        raise ProtocolError(f"{seq.path}: the pulses are not constant, as those of WASABI are: pass its .seq")
    if duration > _LONGEST:
        raise ProtocolError(f"{seq.path}: pulses of {duration:g} s are no WASABI, whose last ms: pass its .seq")
    if len(offset) < 5:
        raise ProtocolError(f"{seq.path}: {len(offset)} offsets are too few for WASABI: give at least 5")
    return Pulse(nutation, duration, offset)


def _is_wasabiti(seq: SeqFile) -> bool:
    return any("wasabiti" in str(seq.definitions.get(name, "")).lower() for name in ("Name", "seq_id_string"))


def _recovery(seq: SeqFile, ppm: np.ndarray) -> np.ndarray:
    """Return the recovery before each image but M0 [s]."""
    stated = stated_numbers(seq.definitions, "Trec")
    times = np.zeros(0) if stated is None else stated
    others = ~m0_images(ppm, seq)
    if len(times) not in (1, len(ppm), others.sum()):
        raise ProtocolError(f"{seq.path}: Trec has {len(times)} times for {len(ppm)} offsets: define one, or one each")
    chosen = times[others] if len(times) == len(ppm) else np.broadcast_to(times, others.sum())
    if chosen.min() <= 0:
        raise ProtocolError(f"{seq.path}: Trec = {chosen.min():g} s: define the recovery before each pulse, above 0 s")
    return chosen
