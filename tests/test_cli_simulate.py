"""The verb `simulate`: what it refuses, what it passes on, and that inputs survive."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pypulseq as pp
import pytest
import torch

from examples.twin_sequences import epi
from pulsetwin import cli
from pulsetwin.recon.read import read
from pulsetwin.recon.reconstruct import reconstruct
from pulsetwin.scanner import Scanner
from pulsetwin.sim import acquire as scanner
from pulsetwin.sim.phantom_nifti import save
from pulsetwin.sim.phantoms import phantom_by_name
from tests.test_cli import REFERENCE, SCAN, fails

MATRIX = 16
SMALL = ("--matrix", str(MATRIX))


@pytest.fixture(scope="module")
def seq(tmp_path_factory):
    path = tmp_path_factory.mktemp("seq") / "epi.seq"
    epi(MATRIX).write(str(path))
    return str(path)


@pytest.fixture
def asked(monkeypatch):
    """Replace the scan by one that runs out of memory at once; return the settings it was called with."""
    calls = []

    def scan(*arguments, **settings):
        calls.append({"scanner": arguments[2], "phantom": arguments[1], **settings})
        raise MemoryError

    monkeypatch.setattr(scanner, "acquire", scan)
    return calls


def with_field(folder, field):
    """Write an echo-planar sequence that states its field."""
    made = epi(MATRIX)
    made.set_definition("B0", field)
    made.write(str(folder / "field.seq"))
    return str(folder / "field.seq")


def test_inputs_are_never_overwritten(capsys, tmp_path, seq):
    """By whatever name the output leads to them."""
    mine, link, settings = tmp_path / "mine.seq", tmp_path / "link.dat", tmp_path / "prisma.toml"
    shutil.copyfile(seq, mine)
    link.symlink_to(mine)
    settings.write_text("x")
    before = mine.read_bytes()
    again = str(tmp_path / "sub" / ".." / "mine.seq")
    for command in (
        ("simulate", str(mine), "-o", str(mine)),
        ("simulate", str(mine), "-o", str(link)),
        ("plot", str(mine), "-o", again),
        ("check", str(mine), "--scanner", "siemens-prisma", "--json", str(mine)),
        ("check", str(mine), "--scanner", str(settings), "--json", str(settings)),
        ("recon", SCAN[0], "--seq", str(mine), "-o", str(mine)),
        ("recon", *SCAN, *REFERENCE, "--noise", str(mine), "-o", str(mine)),
    ):
        assert "is read" in fails(capsys, *command, "--force"), command
    assert mine.read_bytes() == before
    assert settings.read_text() == "x"
    assert link.is_symlink()


@pytest.mark.parametrize("name", ["scan", "scan.txt", "scan.seq", "scan.dat.gz", "scan.hdf5"])
def test_an_unknown_extension_is_refused_before_the_scan(capsys, tmp_path, seq, asked, name):
    assert ".dat (TWIX), .h5 or .mrd (MRD)" in fails(capsys, "simulate", seq, *SMALL, "-o", str(tmp_path / name))
    assert asked == []


def test_extensions_may_be_capitals(tmp_path, seq):
    pytest.importorskip("ismrmrd")
    for name, head in (("scan.H5", b"\x89HDF"), ("scan.DAT", bytes(4))):
        assert cli.main(["simulate", seq, *SMALL, "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_bytes()[:4] == head
        assert len(read(tmp_path / name, seq).groups[0]) == MATRIX


def test_negative_times_with_exponents(tmp_path, seq, asked, capsys):
    late = ["--gradient-delay", "-1e-6", "-2.5E-06", "-.5e-7", "--receiver-delay", "-1e-7"]
    assert "--matrix" in fails(capsys, "simulate", seq, *SMALL, *late, "-o", str(tmp_path / "scan.dat"))
    assert asked[0]["gradient_delay"] == (-1e-6, -2.5e-6, -5e-8)
    assert asked[0]["receiver_delay"] == -1e-7


def test_memory_that_ends_is_met_by_options_of_the_verb(tmp_path, seq, asked, capsys):
    told = fails(capsys, "simulate", seq, *SMALL, "-o", str(tmp_path / "scan.dat"))
    assert "--memory" not in told
    for option in ("--matrix", "--coils", "--spins"):
        assert option in told


@pytest.mark.parametrize(
    "wrong",
    [
        ("--seed", "-1"), ("--seed", "9223372036854775808"), ("--coils", "33"), ("--receiver-delay", "nan"),
        ("--gradient-delay", "0.1", "0", "0"), ("--engine", "graphs", "--spins", "4"),
        ("--engine", "isochromats", "--tol", "0.1"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_told_in_one_line(capsys, tmp_path, seq, wrong):
    message = fails(capsys, "simulate", seq, *SMALL, *wrong, "-o", str(tmp_path / "scan.dat"))
    assert wrong[-2 if "--engine" in wrong else 0].strip("-").replace("-", "_") in message
    assert list(tmp_path.iterdir()) == []


def test_the_field_is_that_of_the_sequence(capsys, tmp_path, seq, asked):
    high, out = with_field(tmp_path, 7.0), ("-o", str(tmp_path / "scan.dat"))
    grey = {field: phantom_by_name("brain", (1, MATRIX, MATRIX), None, field).t2 for field in (3.0, 7.0)}
    for arguments, field, given in (
        ((high,), 7.0, None),
        ((seq,), 3.0, "siemens-prisma"),
        ((seq, "--scanner", "siemens-terra"), 7.0, "siemens-terra"),
        ((high, "--scanner", "siemens-terra"), 7.0, "siemens-terra"),
    ):
        fails(capsys, "simulate", *arguments, *SMALL, *out)
        assert torch.equal(asked[-1]["phantom"].t2, grey[field])
        assert asked[-1]["scanner"] == (given and Scanner.preset(given))


def test_a_scanner_of_another_field_is_refused(capsys, tmp_path):
    high, out = with_field(tmp_path, 7.0), str(tmp_path / "scan.dat")
    told = fails(capsys, "simulate", high, *SMALL, "--scanner", "siemens-prisma", "-o", out)
    for part in ("7 T", "2.89", "B0", "--scanner"):
        assert part in told


def test_a_sequence_of_a_field_without_tissue_values_is_told(capsys, tmp_path):
    told = fails(capsys, "simulate", with_field(tmp_path, 9.4), *SMALL, "-o", str(tmp_path / "scan.dat"))
    for part in ("no tissue values", "definition B0", "NIfTI"):
        assert part in told


@pytest.mark.parametrize(
    ("phantom", "preset"), [("brain", "bruker-biospec-94"), ("vials", "bruker-biospec-94"), ("nist", "siemens-terra")]
)
def test_a_field_without_tissue_values_names_the_option(capsys, tmp_path, seq, phantom, preset):
    command = ("simulate", seq, *SMALL, "--phantom", phantom, "--scanner", preset, "-o", str(tmp_path / "scan.dat"))
    told = fails(capsys, *command)
    assert "--scanner" in told
    assert phantom in told
    assert "no tissue values" in told


def test_a_nifti_phantom_has_no_field(capsys, tmp_path, seq):
    """And keeps its sensitivities, unless an array is asked for."""
    phantom = phantom_by_name("vials", (1, MATRIX, MATRIX))
    coils = torch.stack([(k + 1j) * torch.ones_like(phantom.b1[0]) for k in range(3)])
    save(replace(phantom, coils=coils), tmp_path / "vials.nii")
    command = ["simulate", seq, *SMALL, "--phantom", str(tmp_path / "vials.nii"), "--scanner", "bruker-biospec-94"]
    assert cli.main([*command, "-o", str(tmp_path / "own.dat")]) == 0
    assert cli.main([*command, "--coils", "2", "-o", str(tmp_path / "array.dat")]) == 0
    own, array = (read(tmp_path / f"{name}.dat", seq) for name in ("own", "array"))
    assert (own.coils, array.coils) == (3, 2)
    heard = np.asarray(own.groups[0].samples[:])
    np.testing.assert_allclose(heard[:, 2] * 1j, heard[:, 0] * (2 + 1j), atol=1e-5 * np.abs(heard).max())


@pytest.fixture(scope="module")
def with_noise_readout(tmp_path_factory):
    """An echo-planar sequence after an acquisition that is labelled as noise."""
    path, plain = tmp_path_factory.mktemp("seq") / "noise.seq", epi(MATRIX)
    made = pp.Sequence(plain.system)
    made.add_block(pp.make_adc(32, dwell=10e-6, delay=20e-6), pp.make_label("NOISE", "SET", 1), pp.make_delay(1e-3))
    made.add_block(pp.make_label("NOISE", "SET", 0), pp.make_delay(1e-3))
    for number in plain.block_events:
        made.add_block(plain.get_block(number))
    for name in ("FOV", "Matrix"):
        made.set_definition(name, plain.definitions[name])
    made.write(str(path))
    return str(path)


@pytest.mark.parametrize("end", ["dat", "h5"])
@pytest.mark.parametrize("options", [(), ("--snr", "50")])
def test_noise_readouts_are_there_with_noise_only(capsys, tmp_path, with_noise_readout, options, end):
    if end == "h5":
        pytest.importorskip("ismrmrd")
    scan = str(tmp_path / f"scan.{end}")
    assert cli.main(["simulate", with_noise_readout, *SMALL, "--coils", "2", *options, "-o", scan]) == 0
    told = capsys.readouterr()
    assert ("1 readouts labelled as noise were left out" in told.err) == (not options)
    assert f"({MATRIX + len(options) // 2} readouts" in told.out
    raw = read(scan, with_noise_readout)
    assert (raw.noise is None) == (not options)
    assert len(raw.groups[0]) == MATRIX
    assert np.isfinite(reconstruct(raw).values).all()
