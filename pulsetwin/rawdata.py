"""Raw data as they travel: readouts with their k-space positions, times, labels and flags.

Measured and simulated scans share these types. Everything downstream of a reader looks at the trajectory, the labels
and the flags only, never at the vendor's format.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from pulsetwin.errors import ShapeError

LABELS = ("SLC", "SEG", "REP", "AVG", "SET", "ECO", "PHS", "LIN", "PAR", "ACQ")
FLAGS = ("imaging", "noise", "navigator", "phase_correction", "reference", "reversed")


class Samples(Protocol):
    """Samples ``[readout, coil, sample]``: an array, or a file that is read part by part by indexing readouts."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Readouts, coils, samples."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """A complex type."""

    def __getitem__(self, readouts: Any) -> Any:
        """Return an array ``[picked readout, coil, sample]``."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """k-space positions, ``k[readout, sample] = shapes[shape_index[readout], sample] + offset[readout]`` [1/m].

    A Cartesian scan of a million readouts has one or two shapes; a radial one has a shape per spoke.

    Parameters
    ----------
    shapes
        Positions relative to the sample ``n // 2`` [1/m], float64 ``[shape, sample, 3]``, axes x, y, z.
    shape_index
        Which shape each readout follows, int ``[readout]``.
    offset
        Position of the sample ``n // 2`` of each readout [1/m], float64 ``[readout, 3]``.
    """

    shapes: np.ndarray
    shape_index: np.ndarray
    offset: np.ndarray

    def __len__(self) -> int:
        return len(self.shape_index)

    def __getitem__(self, readouts: Any) -> Trajectory:
        return Trajectory(self.shapes, self.shape_index[readouts], self.offset[readouts])

    def positions(self) -> np.ndarray:
        """Return all positions [1/m], float64 ``[readout, sample, 3]``."""
        return np.asarray(self.shapes[self.shape_index] + self.offset[:, None, :])

    @classmethod
    def from_positions(cls, positions: np.ndarray, tolerance: float = 1e-3) -> Trajectory:
        """Find the distinct shapes in `positions` [1/m], ``[readout, sample, 3]``, equal within `tolerance` [1/m]."""
        offset = positions[:, positions.shape[1] // 2]
        relative = positions - offset[:, None, :]
        keys = np.round(relative / tolerance).astype(np.int64).reshape(len(positions), -1)
        _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        return cls(relative[first], index.reshape(-1), offset)


@dataclass(frozen=True, slots=True)
class Readouts:
    """Readouts of one length, in the order in which they were acquired.

    Parameters
    ----------
    samples
        Complex samples ``[readout, coil, sample]``, complex64; an array or a lazily read file (see `Samples`).
    trajectory
        k-space positions [1/m], or None where neither a `.seq` nor the vendor's counters give them.
    start_time
        Time of each readout's first sample since the start of the sequence [s], ``[readout]``.
    dwell
        Time from sample to sample [s], ``[readout]``.
    labels
        Pulseq label (`LABELS`) to int32 ``[readout]``; an absent label counts as 0.
    flags
        Flag (`FLAGS`) to bool ``[readout]``; an absent flag counts as False, an absent `imaging` as True.
    """

    samples: Samples
    trajectory: Trajectory | None
    start_time: np.ndarray
    dwell: np.ndarray
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    flags: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, values in {**self.labels, **self.flags, "start_time": self.start_time, "dwell": self.dwell}.items():
            if len(values) != len(self):
                raise ShapeError(f"{name} has {len(values)} entries for {len(self)} readouts: give one per readout")
        if self.trajectory is not None and len(self.trajectory) != len(self):
            raise ShapeError(f"trajectory has {len(self.trajectory)} readouts for {len(self)}: give one per readout")

    def __len__(self) -> int:
        return self.samples.shape[0]

    @property
    def coils(self) -> int:
        """Number of receive channels."""
        return self.samples.shape[1]

    def label(self, name: str) -> np.ndarray:
        """Return label `name`, int32 ``[readout]``, zeros where it was never set."""
        return self.labels.get(name, np.zeros(len(self), np.int32))

    def flag(self, name: str) -> np.ndarray:
        """Return flag `name`, bool ``[readout]``."""
        return self.flags.get(name, np.full(len(self), name == "imaging"))

    def select(self, readouts: np.ndarray) -> Readouts:
        """Return the readouts picked by an index or boolean mask; lazily read samples stay lazy."""
        index = np.nonzero(readouts)[0] if readouts.dtype == bool else readouts
        return replace(
            self,
            samples=SamplesSubset(self.samples, index),
            trajectory=None if self.trajectory is None else self.trajectory[index],
            start_time=self.start_time[index],
            dwell=self.dwell[index],
            labels={name: values[index] for name, values in self.labels.items()},
            flags={name: values[index] for name, values in self.flags.items()},
        )


class SamplesSubset:
    """Some readouts of other `Samples`, read only when indexed."""

    def __init__(self, source: Samples, index: np.ndarray) -> None:
        self._source, self._index = source, index

    @property
    def shape(self) -> tuple[int, ...]:
        """Readouts, coils, samples."""
        return (len(self._index), *self._source.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """A complex type."""
        return self._source.dtype

    def __getitem__(self, readouts: Any) -> Any:
        return self._source[self._index[readouts]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the scanned volume lies in the scanner (RAS axes, m).

    Parameters
    ----------
    fov
        Field of view along x, y, z [m]; for 2D scans z is the slice thickness.
    matrix
        Nominal voxels along x, y, z, without readout oversampling; for 2D scans z is 1.
    rotation
        Columns: unit vectors of the sequence's x, y, z axes in RAS, float64 ``[3, 3]``.
    centers
        Centre of each slice (2D, one per SLC label) or of the slab (3D) in RAS [m], ``[slice, 3]``.
    patient_position
        DICOM code such as ``HFS``, empty if unknown.
    """

    fov: tuple[float, float, float]
    matrix: tuple[int, int, int]
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    centers: np.ndarray = field(default_factory=lambda: np.zeros((1, 3)))
    patient_position: str = ""


@dataclass(frozen=True, slots=True)
class RawData:
    """A whole scan: imaging, reference and navigator readouts, noise, geometry and provenance.

    Parameters
    ----------
    groups
        Readouts, one entry per readout length, longest total first.
    noise
        Noise-only samples ``[coil, sample]`` from noise readouts or an earlier measurement, or None.
    noise_dwell
        Dwell time of the noise samples [s]: noise variance scales with ``noise_dwell / dwell``.
    geometry
        Where the volume lies.
    definitions
        `[DEFINITIONS]` of the `.seq` (values parsed), empty without one.
    header
        What the raw file says of itself: vendor, software, sequence, signature, field strength [T], ...
    warnings
        One sentence for each thing the reader had to assume, repair or leave out.
    """

    groups: tuple[Readouts, ...]
    noise: np.ndarray | None
    noise_dwell: float
    geometry: Geometry
    definitions: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def coils(self) -> int:
        """Number of receive channels."""
        return self.groups[0].coils
