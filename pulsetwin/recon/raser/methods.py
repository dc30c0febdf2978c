"""From a RASER scan to its image: by raw spectra, by networks, by inversion, or by inversion of what networks begin."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pulsetwin.errors import ProtocolError
from pulsetwin.operators.strips import strip_areas
from pulsetwin.progress import Progress, silent
from pulsetwin.rawdata import RawData
from pulsetwin.recon.raser.band import in_band, unheard
from pulsetwin.recon.raser.calibrate import kappa_of
from pulsetwin.recon.raser.driven import Parameters
from pulsetwin.recon.raser.features import features, spectra
from pulsetwin.recon.raser.inversion import KNOWN, Inversion, invert, strips_over
from pulsetwin.recon.raser.network import Networks
from pulsetwin.recon.raser.network_file import load_networks
from pulsetwin.recon.raser.purpose import Purpose, check_suits
from pulsetwin.recon.raser.scan import Projections, projections_of
from pulsetwin.recon.raser.symmetry import averaged
from pulsetwin.recon.raser.tomography import filtered_back_projection
from pulsetwin.volume import Images, affine_ras

METHODS = ("fbp", "cnn", "inversion", "hybrid")
SHIPPED = files("pulsetwin.recon.raser") / "networks.safetensors"
"""Networks for 44 by 44 pixels of 0.1223 Hz, 30 angles, T2* of 0.7 s and 10 times the threshold."""
USUAL = Purpose()
"""Of whose T1, T2* and inversion samples are taken to be, about, if nothing else is said."""
_EXPLAINED = 0.8, 1.2  # chi squared
_OF_BAND = 0.03  # correlation of neighbouring samples that the band's filter makes of white noise
_HEARD_TO = 40.0  # Hz, in which projections are to be heard
_LEARNT = 0.8  # of what was known beforehand: an error above tells that the data added nothing
_PUMPED = "; if the sample was pumped meanwhile, say so by --raser-pump-decay"
_ANOTHER_PUMP = (
    "do not trust image, T1, T2* and kappa: the fit with pumping has not settled, as where pumping does not fade as "
    "exp(-t / decay), there is none, or gain or T2* are wrong; chi squared does not tell these apart"
)
_WIDE = 1 / 3  # pixel over the line's width, 1 / pi T2*: T2* came out 7 % wrong with 0.46, 1 % with 0.27
_MOVED = 3.0  # errors
_SHORTEST, _LONGEST = 1e-3, 1000.0  # T2* and T1 [s]: beyond, they are in another unit
_GAIN = 1e30  # largest, and inverse of the least: kappa, its inverse square, has to be a number
_DECAY = "decay of the pumping"
_PULLED = "what the pixels cannot show pulls T2* and kappa by more than the errors told, those of the noise"


class Told(NamedTuple):
    """What a method tells: an image ``[y, x]``, its deviation, a sinogram ``[angle, mode]``, the residual, figures."""

    image: np.ndarray
    deviation: np.ndarray | None
    sinogram: np.ndarray
    residual: np.ndarray | None
    quality: dict[str, float]
    warnings: tuple[str, ...]
    pumped: np.ndarray | None = None


def image_of_scan(
    raw: RawData, method: str, *, networks: str | Path | None = None,
    over_threshold: float = USUAL.over_threshold, t1: float = USUAL.t1, t2: float = USUAL.t2,
    gain: float | None = None, pump_decay: float | None = None, seconds: float = 4.096,
    progress: Progress = silent,
) -> Images:  # fmt: skip
    """Return the image of a RASER scan: relative inversion, its largest voxel 1.

    Extras are the spectra as measured and the sinogram that the image was made of or suits, ``[1, angle, mode]``, and
    of an inversion the correlation of the residual's samples, ``[1, 1, lag]``, and of a pumped sample what is pumped
    into the modes at first, in units of the threshold a second, ``[1, angle, mode]``.

    Parameters
    ----------
    raw
        The scan, see `scan.projections_of`.
    method
        One of `METHODS`: ``fbp`` takes the spectra for projections; ``cnn`` are networks; ``inversion`` fits the
        equations of motion, and ``hybrid`` does from the networks' image on.
    networks
        File that `train.train` wrote; `SHIPPED` if None.
    over_threshold
        Inversion of all spins in units of the threshold, about.
    t1, t2
        T1 and T2* of the sample [s], about.
    gain
        Of the receiver: signal as recorded over that in units of the threshold. Told by the data if None.
    pump_decay
        Decay of a pumping during the acquisition, about [s]; None if there is no such thing. Networks themselves know
        of none: with ``cnn`` it is for the gain that the data tell.
    seconds
        How much of each projection is used [s].
    progress
        Called as an inversion goes on.

    Raises
    ------
    MismatchError
        If the scan is no RASER scan or incomplete, or the networks are for another.
    ProtocolError
        If there is no such method, a setting is out of range or would not be used, or as `scan.projections_of`,
        `calibrate.kappa_of`, `features.features` and `inversion.invert`.
    ShapeError
        If there are fewer samples than filters need.
    FileError
        If the networks cannot be read.
    """
    given = {"over_threshold": over_threshold, "T1": t1, "T2*": t2, "gain": gain, _DECAY: pump_decay}
    _check(method, {name: value for name, value in given.items() if value is not None})
    learnt = load_networks(SHIPPED if networks is None else networks)[0] if method in ("cnn", "hybrid") else None
    scan = projections_of(raw, seconds)
    dwell, bandwidth = scan.stated.dwell, scan.stated.bandwidth
    modes = strips_over(np.ones(scan.stated.matrix, bool))
    measured = spectra(scan.signal, dwell, modes, bandwidth)
    if method == "fbp":
        told = _raw(scan, measured)
    else:
        kappa = gain**-2.0 if gain is not None else kappa_of(
            scan.signal, dwell, modes, bandwidth, t1=t1, t2=t2, over_threshold=over_threshold, pump_decay=pump_decay
        )  # fmt: skip
        told = _of(scan, learnt, Parameters(t1, t2, kappa), over_threshold, method, pump_decay, progress)
    return _images(raw, scan, measured, told)


def _check(method: str, given: Mapping[str, float]) -> None:
    if method not in METHODS:
        raise ProtocolError(f"no method {method!r} for RASER scans; there are {', '.join(METHODS)}")
    for name, value in given.items():
        if not 0 < value < math.inf:
            raise ProtocolError(f"{name} {value:g}: give a number above 0")
    t1, t2 = given["T1"], given["T2*"]
    if t2 < _SHORTEST or max(t1, t2) > _LONGEST or t2 > 2 * t1:
        raise ProtocolError(f"T1 {t1:g} and T2* {t2:g}: give them in s; T2* is at most 2 T1")
    if not 1 / _GAIN < given.get("gain", 1.0) < _GAIN:
        raise ProtocolError(f"gain {given['gain']:g}: give the signal as recorded over that in units of the threshold")
    if method == "cnn" and "gain" in given and _DECAY in given:
        raise ProtocolError("networks know of no pumping: leave out its decay or the gain, or take another method")


def _raw(scan: Projections, measured: np.ndarray) -> Told:
    areas = strip_areas(scan.stated.matrix, scan.stated.angles, measured.shape[1])
    image = filtered_back_projection(measured, areas).reshape(scan.stated.matrix)
    return Told(image, None, measured, None, {}, ("Spectra of a RASER are no projections: the image is distorted.",))


def _of(
    scan: Projections, learnt: Networks | None, parameters: Parameters, over_threshold: float, method: str,
    pump_decay: float | None, progress: Progress,
) -> Told:  # fmt: skip
    """Return what networks tell, or the inversion that begins with it, or that without."""
    first = None
    if learnt is not None:
        sinogram, first = by_networks(learnt, scan, parameters, over_threshold)
        if method == "cnn":
            return Told(first, None, sinogram, None, {"kappa": parameters.kappa}, ())
    said = scan.stated
    noise_only = unheard(in_band(scan.signal, said.dwell, _HEARD_TO))
    heard = ~noise_only | noise_only.all()
    found = invert(
        scan.signal[heard], said.dwell, said.angles[heard], matrix=said.matrix, pixel_bandwidth=said.bandwidth,
        over_threshold=over_threshold, parameters=parameters, first=first, pump_decay=pump_decay,
        progress=progress,
    )  # fmt: skip
    return _inverted(found, parameters, said.bandwidth, heard)


def by_networks(
    networks: Networks, scan: Projections, parameters: Parameters, over_threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sinogram ``[angle, mode]``, of a mean of 1, and the image ``[y, x]`` of networks.

    Raises
    ------
    MismatchError
        If they are for another matrix, other angles or another width of pixels, relative to the line.
    """
    p = networks.purpose
    check_suits(p, scan, parameters.t2)
    seen = features(scan.signal, scan.stated.dwell, p.modes, scan.stated.bandwidth, parameters, over_threshold)
    sinograms, images = averaged(networks, torch.from_numpy(seen)[None])
    return sinograms[0].double().numpy(), images[0].double().numpy()


def _inverted(found: Inversion, before: Parameters, bandwidth: float, heard: np.ndarray) -> Told:
    """Return what an inversion of the projections that were `heard`, bool ``[angle]``, tells."""
    quality = {"chi_squared": found.chi_squared}
    for name, value, error in zip(("T1", "T2star", "kappa"), found.parameters, found.errors, strict=True):
        quality |= {name: float(value), f"{name}_error": float(error)}
    if found.pump_decay is not None:
        quality |= dict(zip(("pump_decay", "pump_decay_error"), found.pump_decay, strict=True))
    if found.pumped is not None:
        quality["pumped"] = float(found.pumped.sum(1).mean())  # thresholds a second
    doubts = tuple(_doubts(found, before, bandwidth))
    if not heard.all():
        numbers = ", ".join(map(str, np.nonzero(~heard)[0]))
        doubts = (f"left out, as no more than noise: projection {numbers} (of {len(heard)}, from 0)", *doubts)
    sinogram, pumped = (None if one is None else _placed(one, heard) for one in (found.sinogram, found.pumped))
    return Told(found.image, found.deviation, sinogram, found.residual, quality, doubts, pumped)


def _placed(rows: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Return rows of the projections that were heard among all, the others 0."""
    whole = np.zeros((len(heard), *rows.shape[1:]))
    whole[heard] = rows
    return whole


def _doubts(found: Inversion, before: Parameters, bandwidth: float) -> Iterator[str]:
    """Tell why an inversion that began with the parameters `before` is not to be trusted; `bandwidth` of a pixel."""
    low, high = _EXPLAINED
    if not low < found.chi_squared < high:
        told = f"chi squared is {found.chi_squared:.3g} per sample"
        yield f"{told}: the model does not explain the data, so doubt the image{_PUMPED * (found.pump_decay is None)}"
    neighbours = float(correlation(found.residual, 2)[-1])
    if abs(neighbours) > _OF_BAND + 3 / math.sqrt(found.residual.size):
        told = f"the residual is not white (correlation of neighbours {neighbours:.3f})"
        yield f"{told}: the model does not explain the data, so doubt the image"
    if not found.settled and found.pump_decay is not None:
        yield _ANOTHER_PUMP
    elif not found.settled:
        yield "the fit had not settled when its iterations were over: check gain and T2*, or measure finer pixels"
    for name, error, usual, known in zip(("T1", "T2*", "kappa"), found.errors, before, KNOWN, strict=True):
        if error > _LEARNT * known * usual:
            yield f"the data hardly tell {name}: its error is that of what was taken for it"
    moved = np.abs(np.log(np.divide(found.parameters, before)))
    limits = np.maximum(KNOWN, _MOVED * np.divide(found.errors, found.parameters))
    if (moved > limits)[1:].any():
        yield f"T2* or kappa is far from what was taken for it: {_PULLED}, or that was wrong"
    elif math.pi * before.t2 * bandwidth > _WIDE:
        yield f"pixels are wide beside the line, 1 / pi T2*: {_PULLED}; measure finer ones"


def correlation(residual: np.ndarray, lags: int = 40) -> np.ndarray:
    """Return how samples of a residual ``[angle, time]`` resemble later ones: 1 at lag 0, then 0 if white, ``[lag]``.

    Parameters
    ----------
    residual
        Complex.
    lags
        How many, that of 0 included.
    """
    count = residual.shape[1]
    products = [(residual[:, lag:] * residual[:, : count - lag].conj()).mean().real for lag in range(min(lags, count))]
    return np.array(products) / products[0]


def _images(raw: RawData, scan: Projections, measured: np.ndarray, told: Told) -> Images:
    rows, columns = scan.stated.matrix
    extras, quality = {"spectra": measured[None], "sinogram": told.sinogram[None]}, dict(told.quality)
    if told.residual is not None:
        extras["residual"] = correlation(told.residual)[None, None]
        quality["residual_correlation"] = float(extras["residual"][0, 0, 1])
    if told.pumped is not None:
        extras["pumped"] = told.pumped[None]
    deviation = None if told.deviation is None else np.maximum(told.deviation, np.finfo(np.float32).tiny)[None]
    largest = max(float(told.image.max()), np.finfo(float).tiny)
    values = (told.image / largest)[None, None].astype(np.complex64)
    affine = affine_ras(raw.geometry, (columns, rows, 1))
    return Images(values, affine, ({},), noise_std=deviation, quality=quality, warnings=told.warnings, extras=extras)
