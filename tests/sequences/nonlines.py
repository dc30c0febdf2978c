"""What the tests of radial, UTE and spiral scans share."""

from __future__ import annotations

import numpy as np

from pulsetwin.export.findings import ERROR
from pulsetwin.export.playable import check
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.events import NONE
from pulsetwin.sequences.seqfile import GX, GZ, RF, read_seq
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantoms import phantom_by_name

PRISMA = Scanner.preset("siemens-prisma")
EDGE = {"siemens-prisma": 0.22, "siemens-terra": 0.22, "bruker-biospec-94": 0.03}


def errors(seq, path, scanner) -> list:
    """Write the sequence, and return what is wrong with it by pypulseq and by our check of the file."""
    seq.write(str(path))
    passed, told = seq.check_timing()
    return ([] if passed else told) + [one for one in check(read_seq(path), scanner).findings if one.severity == ERROR]


def net_moments(path) -> np.ndarray:
    """Return the gradient integral from each excitation's centre to the next one's, of the file [1/m], ``[n, 3]``."""
    seq = read_seq(path)
    area = np.append(seq.gradients.area, 0.0)[seq.events[:, GX : GZ + 1]]
    pulses = np.nonzero(seq.events[:, RF] != NONE)[0]
    return np.add.reduceat(area, pulses, axis=0)[:-1]


def agreement(path, flip_angle, tr) -> float:
    """Return the correlation of the brain that is simulated and reconstructed with the steady state of FLASH in it."""
    said = read_seq(path).definitions
    grid = tuple(int(count) for count in said["Matrix"][::-1])
    phantom = phantom_by_name("brain", grid, tuple(said["FOV"]), PRISMA.field_strength)
    image = np.abs(reconstruct(acquire(path, phantom, PRISMA, tol=1e-2)).values[0])
    relaxed = np.exp(-tr / np.maximum(phantom.t1.numpy(), 1e-3))
    truth = phantom.proton_density.numpy() * (1 - relaxed) / (1 - relaxed * np.cos(flip_angle))
    truth = np.roll(truth[:, ::-1], 1, 1)  # y of the scanner is to the back
    assert image.shape == truth.shape
    return float(np.corrcoef(image.ravel(), truth.ravel())[0, 1])


def echo_times(seq) -> np.ndarray:
    """Return the times from each measured excitation to where k is least [s], by pypulseq, to a sample."""
    k, _, excitation, _, time = seq.calculate_kspace()
    played = len(excitation) - next(i for i, start in enumerate(excitation) if start < time[0] < excitation[i + 1])
    k, time = k.reshape(3, played, -1), time.reshape(played, -1)
    middle = np.argmin(np.linalg.norm(k, axis=0), axis=1)
    return time[np.arange(played), middle] - np.asarray(excitation)[-played:]
