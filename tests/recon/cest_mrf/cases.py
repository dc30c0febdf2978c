"""A small study and made-up dictionaries for the tests of CEST-MRF."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pulsetwin.recon.cest_mrf.dictionary import Dictionary
from pulsetwin.recon.cest_mrf.grid import Cartesian

DATA = Path(__file__).parents[4] / "shared" / "data"
SEQ = Path(__file__).parents[2] / "data" / "cest_larg_9p4t" / "acq_protocol.seq"
STUDY = """
water_pool: {f: 1, t1: 2.8, t2: 1.2}
cest_pool:
  amine: {f: 1.4e-3, t1: 2.8, t2: 40.0e-3, k: 300, dw: 3}
b0: 9.4
reset_init_mag: false
measurement: {mode: pulseq_cest}
solutes:
  amine: {protons: 3, ph: {rate: 100, at: 4}}
grid:
  t1: {from: 2.5, to: 3.3, step: 0.2}
  t2: [0.6, 0.9, 1.2]
  amine.exchange_rate: {from: 100, to: 1400, step: 100}
  amine.concentration: {from: 10, to: 120, step: 10}
"""


def curves(grid: Cartesian, records: int = 12) -> Dictionary:
    """Smooth signals of the parameters, as those of a scan are."""
    table = grid.table(0, len(grid))
    low, high = np.array(list(grid.bounds().values())).T
    share = (table - low) / (high - low)
    phase = np.linspace(0.3, 3, records)
    weights = 1 + np.arange(share.shape[1])
    return Dictionary(
        grid, 1 + 0.3 * np.sin(phase * (share @ weights)[:, None] + share[:, :1]) + 0.1 * share[:, 1:2] * phase
    )
