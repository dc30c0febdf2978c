"""Where the data are."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def scans() -> Path:
    """Folder of the real scans that ship with the repository."""
    return ROOT / "examples" / "data"


@pytest.fixture(scope="session")
def vendor_scans() -> Path:
    """Folder of the vendor's own raw data."""
    return ROOT / "tests" / "data" / "vendor_gre"
