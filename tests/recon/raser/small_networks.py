"""Networks of a small image, for tests."""

from __future__ import annotations

from pulsetwin.recon.raser.purpose import Purpose

PURPOSE = Purpose(matrix=12, angles=6, modes=17, bandwidth=0.4)
