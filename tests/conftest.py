"""Where the data are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: a process for each core needs one thread each
    os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def scans() -> Path:
    """Folder of the real scans that ship with the repository."""
    return ROOT / "examples" / "data"


@pytest.fixture(scope="session")
def vendor_scans() -> Path:
    """Folder of the vendor's own raw data."""
    return ROOT / "tests" / "data" / "vendor_gre"
