from __future__ import annotations

import base64
import hashlib
import io
import json
from html.parser import HTMLParser

import nibabel
import numpy as np
import pytest
from PIL import Image

from pulsetwin.errors import FileError, OutputExistsError, ProtocolError
from pulsetwin.export import figures, recon_output
from pulsetwin.export.recon_output import write_recon
from pulsetwin.export.report import Picture, quality_words, render
from pulsetwin.export.summary import file_facts, previous_outputs, to_json
from pulsetwin.volume import Images
from tests.synthetic import cartesian_positions, scan

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Collects what a browser would see, and checks that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.images, self.links = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.open += [] if tag in VOID else [tag]
        self.images += [attributes["src"]] if tag == "img" else []
        self.links += [value for name, value in attributes.items() if name in ("href", "src", "srcset", "action")]
        assert tag not in ("script", "link", "iframe", "object")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def inputs(tmp_path):
    return scan_file(tmp_path)


def scan_file(tmp_path):
    (tmp_path / "scan.dat").write_bytes(b"raw data")
    return {"scan": tmp_path / "scan.dat"}


@pytest.fixture(scope="module")
def measured():
    random = np.random.default_rng(3)
    shape = (1, 8, 8)
    samples = random.normal(size=(8, 2, 8)) + 1j * random.normal(size=(8, 2, 8))
    noise = random.normal(size=(2, 100)) + 1j * random.normal(size=(2, 100))
    raw = scan(samples, cartesian_positions(shape), shape, noise=noise)
    values = (random.normal(size=(1, *shape)) + 1j).astype(np.complex64)
    affine = np.diag([30.0, 30.0, 120.0, 1.0])
    quality = {"ghost_level_after": 0.02, "snr_median": float("nan")}
    images = Images(values, affine, ({},), np.ones(shape, np.float32), quality, ("the <noise> was guessed",))
    return raw, images


def write(out, measured, inputs, **more):
    settings = {"method": "auto", "coils": None, "partial": False}
    return write_recon(out, *measured, settings=settings, inputs=inputs, timings={"read": 0.25}, **more)


@pytest.fixture(scope="module")
def written(tmp_path_factory, measured):
    """An output folder and the list of its files."""
    folder = tmp_path_factory.mktemp("written")
    return folder / "out", write(folder / "out", measured, scan_file(folder))


def test_folder_holds_what_is_promised(written, measured):
    out, outputs = written
    found = sorted(file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file())
    assert found == outputs
    assert {"images.nii.gz", "images_complex.npy", "report.html", "summary.json", "snr.nii.gz"} < set(found)
    assert {"figures/images.png", "figures/snr.png", "figures/noise.png", "figures/trajectory.png"} < set(found)
    assert nibabel.load(out / "images.nii.gz").shape == (8, 8, 1, 1)
    np.testing.assert_array_equal(np.load(out / "images_complex.npy"), measured[1].values)


def test_summary_is_strict_json(written):
    out, outputs = written
    text = (out / "summary.json").read_text()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))
    assert content["inputs"]["scan"]["sha256"] == hashlib.sha256(b"raw data").hexdigest()
    assert content["inputs"]["scan"]["bytes"] == 8
    assert content["quality"] == {"ghost_level_after": 0.02, "snr_median": None}
    assert content["warnings"] == ["the <noise> was guessed"]
    assert content["settings"] == {"method": "auto", "coils": None, "partial": False}
    assert content["timings_s"]["read"] == 0.25
    assert content["timings_s"]["write"] > 0
    assert content["outputs"] == outputs
    assert content["images"]["shape_contrast_z_y_x"] == [1, 1, 8, 8]


def test_report_carries_everything_within_itself(written):
    out, outputs = written
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert len(page.images) == len([name for name in outputs if name.startswith("figures/")])
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    for source in page.images:
        Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).verify()
    text = " ".join(page.text)
    for expected in ("the <noise> was guessed", "2 %", hashlib.sha256(b"raw data").hexdigest(), "240 × 240 × 120 mm"):
        assert expected in text
    assert "prefers-color-scheme: dark" in text


def test_nothing_is_overwritten_without_force(tmp_path, measured, inputs):
    write(tmp_path / "out", measured, inputs)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="--force"):
        write(tmp_path / "out", measured, inputs)
    raw, images = measured
    without_noise = Images(images.values, images.affine, images.contrasts)
    write(tmp_path / "out", (raw, without_noise), inputs, force=True)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "out" / "snr.nii.gz").exists(), "an output of the earlier run that is no longer true"


def test_failure_leaves_nothing(tmp_path, measured, inputs):
    with pytest.raises(FileError, match="absent"):
        write(tmp_path / "out", measured, {"scan": tmp_path / "absent.dat"})
    assert [file.name for file in tmp_path.iterdir()] == ["scan.dat"]


def test_failing_figure_is_a_warning_and_the_images_stay(tmp_path, measured, inputs, monkeypatch):
    monkeypatch.setattr(recon_output.data_figures, "trajectory", lambda raw: figures.new_figure(1, 1))
    monkeypatch.setattr(recon_output.data_figures, "kspace", lambda raw: 1 / 0)
    outputs = write(tmp_path / "out", measured, inputs)
    assert "figures/kspace.png" not in outputs
    warnings = json.loads((tmp_path / "out" / "summary.json").read_text())["warnings"]
    assert warnings[-1].startswith("figure 'kspace' could not be drawn: division by zero")


def test_unknown_extras_are_refused(tmp_path, measured, inputs):
    with pytest.raises(ProtocolError, match="uncorrekted"):
        write(tmp_path / "out", measured, inputs, extras={"uncorrekted": np.zeros(1)})


def test_ghost_figure_comes_with_the_uncorrected_image(tmp_path, measured, inputs):
    outputs = write(tmp_path / "out", measured, inputs, extras={"uncorrected": np.abs(measured[1].values[0])})
    assert "figures/ghost.png" in outputs


def test_markup_in_names_is_shown_not_run():
    evil = "<script>alert('x')</script>\"'&"
    one = {evil: evil}
    pictures = [Picture("a", evil, evil, b"")]
    page = Page(
        render(
            evil,
            subtitle=evil,
            quality={evil: 1.0},
            warnings=[evil],
            protocol=one,
            pictures=pictures,
            settings=one,
            provenance=one,
        )
    )
    assert page.text.count(evil) >= 8


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("ghost_level_before", 0.805, ("ghost level before", "80.5 %")),
        ("gradient_delay", 2.434e-6, ("gradient delay", "2.43 µs")),
        ("snr_median", 128.91, ("SNR median", "128.9")),
    ],
)
def test_quality_figures_have_units(name, value, shown):
    assert quality_words(name, value) == shown


def test_json_knows_numpy_and_has_no_nan():
    content = {"a": np.float32("nan"), 1: np.array([1, 2]), "c": 1 + 2j, "d": np.bool_(True), "e": (float("inf"), None)}
    assert json.loads(to_json(content)) == {"a": None, "1": [1, 2], "c": [1.0, 2.0], "d": True, "e": [None, None]}


def test_file_facts_match_hashlib_over_many_parts(tmp_path):
    data = np.random.default_rng(0).bytes((1 << 22) + 12345)
    (tmp_path / "f").write_bytes(data)
    facts = file_facts(tmp_path / "f")
    assert facts == {"file": "f", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"outputs": 3}', "not json"])
def test_damaged_summary_lists_no_outputs(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    assert previous_outputs(tmp_path) == ()
