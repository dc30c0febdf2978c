"""pulsetwin: design, simulate, optimise, export, and reconstruct Pulseq MRI sequences."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pulsetwin")
except PackageNotFoundError:
    __version__ = "0.0.0"
