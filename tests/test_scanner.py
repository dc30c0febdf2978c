"""Scanner: presets, files, limits for pypulseq."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from pulsetwin.errors import FileError, ProtocolError
from pulsetwin.scanner import Scanner

MINIMAL = 'vendor = "x"\nname = "y"\nfield_strength = 3\nmax_gradient = 0.04\nmax_slew = 150\nmax_b1 = 2e-5\n'


@pytest.mark.parametrize("name", ["siemens-prisma", "siemens-terra", "bruker-biospec-94", "magritek-spinsolve-60"])
def test_presets_load_and_give_complete_opts(name):
    scanner = Scanner.preset(name)
    assert name in Scanner.presets()
    opts = scanner.opts
    assert opts.max_grad == pytest.approx(scanner.max_gradient * 42.576e6)
    assert opts.max_slew == pytest.approx(scanner.max_slew * 42.576e6)
    assert scanner.field_strength == opts.B0
    assert opts.grad_raster_time == scanner.gradient_raster
    assert opts.rf_ringdown_time == scanner.rf_ringdown_time
    assert opts.adc_samples_divisor == scanner.adc_samples_divisor


def test_siemens_rasters_are_what_its_reader_accepts():
    scanner = Scanner.preset("siemens-prisma")
    assert (scanner.gradient_raster, scanner.block_raster, scanner.rf_raster) == (10e-6, 10e-6, 1e-6)
    assert scanner.adc_samples_divisor == 4


def test_opts_does_not_change_the_default_of_pypulseq():
    import pypulseq as pp

    before = dict(vars(pp.Opts.default))
    Scanner.preset("magritek-spinsolve-60").opts  # noqa: B018
    assert dict(vars(pp.Opts.default)) == before


def test_load_takes_whole_numbers_bands_and_pns(tmp_path):
    path = tmp_path / "s.toml"
    axis = "tau = [0.0002, 0.03, 0.003]\nweight = [0.4, 0.1, 0.5]\nstimulation_limit = 30\n"
    extra = "forbidden_bands = [[550, 650]]\n" + "".join(f"[pns.{name}]\n{axis}" for name in "xyz")
    path.write_text(MINIMAL + extra)
    scanner = Scanner.load(path)
    assert scanner.field_strength == 3.0
    assert scanner.forbidden_bands == ((550.0, 650.0),)
    assert scanner.pns is not None
    assert scanner.pns[2].tau[1] == 0.03


def test_unknown_key_names_the_nearest(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(MINIMAL + "max_gradientt = 1\n")
    with pytest.raises(ProtocolError, match="'max_gradientt', did you mean 'max_gradient'"):
        Scanner.load(path)


def test_unknown_preset_names_the_nearest():
    with pytest.raises(ProtocolError, match="did you mean 'siemens-prisma'"):
        Scanner.preset("prisma")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("max_slew = 150\n", "max_slew missing"),
        ("max_slew = -1\n", "max_slew = -1.0 must be above 0"),
        ('max_slew = "a"\n', "is no number"),
        ("max_slew = nan\n", "is no number"),
    ],
)
def test_bad_values_are_named(tmp_path, change, message):
    path = tmp_path / "s.toml"
    path.write_text(MINIMAL.replace("max_slew = 150\n", "" if "missing" in message else change))
    with pytest.raises(ProtocolError, match=message):
        Scanner.load(path)


@pytest.mark.parametrize("text", ["a = ", "\udcff"])
def test_bad_files_are_named(tmp_path, text):
    path = tmp_path / "s.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FileError, match=r"s\.toml.*not TOML"):
        Scanner.load(path)
    with pytest.raises(FileError, match="cannot be read"):
        Scanner.load(tmp_path / "none.toml")


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Scanner.preset("siemens-prisma").max_slew = 1.0


def test_import_is_light():
    code = "import sys, pulsetwin.scanner; assert not {'torch', 'scipy', 'pypulseq', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
