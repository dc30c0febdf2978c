"""From raw data of an echo-planar CEST-MRF to maps through the verb `recon`."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from pulsetwin import cli
from pulsetwin.export.twix import write
from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cest_mrf import Protocol, build
from pulsetwin.sim.acquire import acquire
from pulsetwin.sim.phantom import Pool
from pulsetwin.sim.phantom_tissue import Tissue
from pulsetwin.sim.phantoms import vials
from tests.test_cli import fails

SCANNER = Scanner.preset("siemens-prisma")
MATRIX, FOV = 16, (0.22, 0.22, 0.005)
STUDY = f"""
water_pool: {{f: 1, t1: 2.8, t2: 0.9}}
cest_pool:
  amine: {{f: 1.0e-3, t1: 2.8, t2: 40.0e-3, k: 300, dw: 3}}
b0: {SCANNER.field_strength}
reset_init_mag: false
measurement: {{normalisation: first}}
solutes:
  amine: {{protons: 3}}
grid:
  amine.concentration: {{from: 10, to: 150, step: 10}}
  amine.exchange_rate: {{from: 100, to: 600, step: 50}}
"""


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch) -> None:
    for module in ("maps_output", "recon_output"):
        monkeypatch.setattr(f"pulsetwin.export.{module}.drawn", lambda *_: ([], []))


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A folder with raw data of two wide vials, the `.seq`, the study, and maps of T1, T2, B0 and B1."""
    folder = tmp_path_factory.mktemp("scan")
    strengths = tuple(1e-6 * one for one in (0, 2, 1.5, 3, 0.5, 2.5, 1, 3.5))
    protocol = Protocol(
        fov=FOV,
        matrix=(MATRIX, MATRIX, 1),
        readout="epi",
        b1=strengths,
        flip_angle=(1.0,),
        recovery=(1.0,),
        saturation="cw",
    )
    build(protocol, SCANNER).write(str(folder / "cest_mrf.seq"))
    phantom = vials((1, MATRIX, MATRIX), FOV, tissues=[Tissue(1.0, 2.8, 0.9)] * 2)
    right = torch.arange(MATRIX)[None, None] >= MATRIX // 2
    both = (
        torch.where(right, *map(torch.tensor, pair)).expand(phantom.grid) for pair in ((2e-3, 1e-3), (200.0, 400.0))
    )
    pool = Pool(*both, 3.0, torch.tensor(2.8), torch.tensor(0.04))
    hz = 0.1e-6 * 42.576e6 * SCANNER.field_strength
    phantom = replace(phantom, pools=(pool,), b0=phantom.b0 + hz, b1=0.9 * phantom.b1)
    raw = acquire(folder / "cest_mrf.seq", phantom, SCANNER, coils=2, snr=2000, receiver_delay=1e-6)
    write(raw, folder / "scan.dat")
    (folder / "study.yaml").write_text(STUDY, "utf-8")
    (folder / "known.yaml").write_text(STUDY + "b0_inhom: 0.1\nrel_b1: 0.9\n", "utf-8")
    assert (
        cli.main(
            ["recon", str(folder / "scan.dat"), "--seq", str(folder / "cest_mrf.seq"), "-o", str(folder / "plain")]
        )
        == 0
    )
    affine = nibabel.load(folder / "plain" / "images.nii.gz").affine
    for name, value in {"t1": 2.8, "t2": 0.9, "b0": 0.1, "b1": 0.9}.items():
        nibabel.save(
            nibabel.Nifti1Image(np.full((MATRIX, MATRIX, 1), value, np.float32), affine), folder / f"{name}.nii.gz"
        )
    return folder


def asked(folder, *more, known):
    """Arguments of the command line."""
    maps = [part for name in known for part in (f"--{name}", str(folder / f"{name}.nii.gz"))]
    return "recon", str(folder / "scan.dat"), "--seq", str(folder / "cest_mrf.seq"), *maps, *map(str, more)


@pytest.mark.parametrize(
    ("method", "study", "known", "allowed"),
    [("fit", "study", ("t1", "t2", "b0", "b1"), 0.05), ("dictionary", "known", (), 0.15)],
)
def test_maps_of_a_scan(scan, tmp_path, capsys, method, study, known, allowed):
    out = tmp_path / "out"
    pools = scan / f"{study}.yaml"
    assert cli.main(asked(scan, "--pools", pools, "--maps", method, "-o", out, known=known)) == 0
    told = capsys.readouterr().out
    assert "amine_exchange_rate" in told
    found = {
        name: nibabel.load(out / "maps" / f"amine_{name}.nii.gz").get_fdata()[..., 0]
        for name in ("concentration", "exchange_rate")
    }
    across = nibabel.load(out / "images.nii.gz").affine[0, 0] > 0
    for name, (right, left) in {"concentration": (2e-3, 1e-3), "exchange_rate": (200, 400)}.items():
        halves = np.array_split(found[name], 2)[:: -1 if across else 1]
        scale = 110e3 / 3 if name == "concentration" else 1
        for half, truth in zip(halves, (right, left), strict=True):
            assert np.median(half[half > 0]) == pytest.approx(scale * truth, rel=allowed), (name, truth)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--maps", "ssl", "--pools", "study.yaml"), "--maps ssl is not of CEST-MRF"),
        (("--ie", "0.9", "--pools", "study.yaml"), "--ie is not of CEST-MRF"),
        ((), "--t1 is for maps of a CEST-MRF: give --pools"),
    ],
)
def test_what_does_not_go_together_is_told(scan, tmp_path, capsys, more, told):
    named = [scan / one if str(one).endswith(".yaml") else one for one in more]
    assert told in fails(capsys, *asked(scan, *named, "-o", tmp_path / "out", known=("t1",)))
    assert not (tmp_path / "out").exists()
