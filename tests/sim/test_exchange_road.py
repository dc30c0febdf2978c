"""The whole road of CEST-MRF through raw data, as the example walks it: six vials, 8 coils, noise and ghosts."""

from __future__ import annotations

import runpy
import sys

import numpy as np
import pytest

from pulsetwin.recon.agreement import mape, pearson
from tests.conftest import ROOT


@pytest.mark.slow
def test_concentrations_and_exchange_rates_of_six_vials_come_back(tmp_path, monkeypatch):
    """Of vials, as well as the figures of a publication; single voxels are noisier."""
    monkeypatch.setattr(sys, "argv", ["cest_mrf_vials", str(tmp_path), "32"])
    told = runpy.run_path(str(ROOT / "examples" / "cest_mrf_vials.py"))
    before, after = (told["images"].quality[f"ghost_level_{when}"] for when in ("before", "after"))
    assert before > 0.03
    assert after < before / 2
    for values, truth in told["estimates"].values():
        means = np.array([values[told["where"] == vial].mean() for vial in told["number"]])
        assert pearson(means, truth) > 0.986
        assert mape(means, truth) < 0.108
