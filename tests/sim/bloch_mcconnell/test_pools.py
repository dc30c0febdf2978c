"""Pool models from files, and what is said of those that do not make sense."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pulsetwin.errors import FileError, MismatchError, ProtocolError
from pulsetwin.sim.bloch_mcconnell.pool_model import Pool, PoolModel, check_field
from pulsetwin.sim.bloch_mcconnell.pools import read_pools
from tests.sim.bloch_mcconnell.cases import DATA, challenge, needs_challenge, needs_library

YAML = """
water_pool: {f: 1.0, t1: 1.2, t2: 80.0e-3}
cest_pool: {'amide': {f: 1e-3, t1: 1.0, t2: 0.1, k: 50, dw: 3.5}}
mt_pool: {f: 0.1, t1: 1.0, t2: 1.0e-05, k: 30, dw: -2.5, lineshape: 'SuperLorentzian'}
b0: 3
gamma: 267.5154109126009
b0_inhom: 0.1
reset_init_mag: False
scale: 0.5
max_pulse_samples: 300
"""
TOML = """
b0 = 3
gamma = 267.5154109126009
b0_inhom = 0.1
reset_init_mag = false
scale = 0.5
max_pulse_samples = 300
water_pool = {t1 = 1.2, t2 = 80e-3}
mt_pool = {f = 0.1, t1 = 1.0, t2 = 1e-5, k = 30, dw = -2.5, lineshape = "super_lorentzian"}
[cest_pool.amide]
f = 1e-3
t1 = 1.0
t2 = 0.1
k = 50
dw = 3.5
"""
MODEL = PoolModel(
    1.2, 0.08, (Pool("amide", 1e-3, 50, 3.5, 1, 0.1), Pool("mt", 0.1, 30, -2.5, 1, 1e-5, "super_lorentzian")), 3,
    1e6 * 267.5154109126009, b0_shift=0.1, scale=0.5, reset=False, max_pulse_samples=300,
)  # fmt: skip


def read(path, text, name="model.yaml"):
    (path / name).write_text(text, "utf-8")
    return read_pools(path / name)


@pytest.mark.parametrize(("text", "name"), [(YAML, "model.yaml"), (TOML, "model.toml")])
def test_files(tmp_path, text, name):
    assert read(tmp_path, text, name) == MODEL
    assert MODEL.size == 7
    assert [pool.name for pool in MODEL.semisolid] == ["mt"]


@needs_library
def test_files_of_others():
    model = read_pools(DATA / "pulseq_cest" / "WM_3T_default_7pool_bmsim.yaml")
    assert [pool.name for pool in model.pools] == ["amide", "guanidine_1", "amine_1", "OH_1", "NOE_1", "mt"]
    assert (model.b0, model.gamma, model.t2, model.reset) == (3, pytest.approx(267.5153e6), 0.04, True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("t1: 1.2", "t1: 0", r"t1 = 0: give a number above 0"),
        ("t1: 1.2", "t1: long", "water_pool.t1 = 'long' is no number"),
        ("t1: 1.2, ", "", "water_pool: t1 is missing"),
        ("k: 50", "kk: 50", r"cest_pool.amide: 'kk' is unknown, did you mean 'k'"),
        ("f: 1e-3", "f: -1e-3", "amide.fraction = -0.001"),
        ("f: 1.0, t1: 1.2", "f: 2.0, t1: 1.2", "fractions are relative to water"),
        ("SuperLorentzian", "Gaussian", "lineshape 'Gaussian' is unknown; give Lorentzian or SuperLorentzian"),
        ("b0: 3\n", "", "b0 is missing"),
        ("b0_inhom", "b0_inhomogeneity", "'b0_inhomogeneity' is unknown, did you mean 'b0_inhom'"),
        ("samples: 300", "samples: .inf", "max_pulse_samples = inf is no number"),
        ("samples: 300", "samples: 2.5", "max_pulse_samples = 2.5 is no whole number"),
        ("False", "maybe", "reset_init_mag = 'maybe' is neither true nor false"),
        ("b0: 3\n", "b0: [3\n", "is no YAML"),
        ("{'amide'", "{'mt'", "pool 'mt' is there twice"),
    ],
)
def test_errors_name_file_and_key(tmp_path, old, new, message):
    assert old in YAML
    with pytest.raises(FileError, match=message) as error:
        read(tmp_path, YAML.replace(old, new, 1))
    assert "model.yaml" in str(error.value)


def test_missing_file_and_empty_file(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        read_pools(tmp_path / "none.yaml")
    with pytest.raises(FileError, match="where a table with water_pool"):
        read(tmp_path, "")


def test_models_that_make_no_sense():
    for name in ("", "a.b", "a/b", "..\\b"):
        with pytest.raises(ProtocolError, match=r"without a dot or slash"):
            Pool(name, 0.1, 30, 0, 1, 0.1)
    with pytest.raises(ProtocolError, match="t2 = nan is no finite number"):
        replace(MODEL, t2=math.nan)


@needs_challenge
def test_field_of_sequence_and_model():
    seq, model = challenge(5)
    check_field(seq, model)
    with pytest.raises(MismatchError, match=r"B0 = 3 is a field of 3 T, the pool model's b0 is 9.4 T"):
        check_field(seq, replace(model, b0=9.4))
    del seq.definitions["B0"]
    with pytest.raises(MismatchError, match=r"FREQ = 127.729 is a field of 3 T"):
        check_field(seq, replace(model, b0=9.4))
