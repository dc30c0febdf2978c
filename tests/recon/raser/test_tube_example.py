"""The example of the tube, with few pixels: the diameter is right, and the even resonator is refuted."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "raser_tube.py"


@pytest.mark.slow
def test_the_diameter_of_a_tube_is_found(tmp_path, monkeypatch):
    figure = tmp_path / "tube.png"
    monkeypatch.setattr(sys, "argv", ["raser_tube.py", str(figure), "24"])
    told = runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert abs(told["error"]) < 3
    assert told["found"].chi_squared > 1.2
    assert figure.stat().st_size > 1000
