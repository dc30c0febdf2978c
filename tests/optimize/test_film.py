"""Films hold each picture, and the latest one is the state; a window shows them where there is a display."""

from __future__ import annotations

import sys
import tracemalloc

import av
import matplotlib
import numpy as np
import pytest
from matplotlib.backends.registry import backend_registry
from matplotlib.figure import Figure
from PIL import Image

from pulsetwin.cli import main
from pulsetwin.errors import ProtocolError
from pulsetwin.optimize.film import keep_picture, save_film
from pulsetwin.optimize.live import Window
from pulsetwin.progress import silent

COLOURS = ((0.2, 0.2, 0.6), (1.0, 0.8, 0.2), (0.4, 0.8, 0.4))


def filled(colour, size=(1.31, 0.73)):
    """Return a figure of one colour but for a white corner, odd in pixels."""
    figure = Figure(size, dpi=100, facecolor=colour)
    figure.add_axes((0, 0, 0.5, 0.5), facecolor="white", xticks=[], yticks=[], frameon=True)
    return figure


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture
def frames(tmp_path):
    """Return the three pictures that a folder was given, step 20 before step 3."""
    for step, colour in ((20, COLOURS[2]), (0, COLOURS[0]), (3, COLOURS[1])):
        keep_picture(filled(colour), tmp_path, step)
    return [read(frame) for frame in sorted((tmp_path / "frames").glob("*.png"))]


def test_the_state_is_the_latest_picture(tmp_path):
    seen = []
    for step, colour in enumerate(COLOURS):
        keep_picture(filled(colour), tmp_path, step, lambda figure: seen.append(read(tmp_path / "state.png")))
        assert np.array_equal(seen[-1][2, 2], np.round(255 * np.array(colour)))
    assert not list(tmp_path.glob(".*"))


def test_films_decode_to_the_pictures_in_order(frames, tmp_path):
    save_film(tmp_path)
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert film.streams.video[0].codec_context.name == "h264"
        assert film.streams.video[0].average_rate == 5
        decoded = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(decoded) == 2 + 10
    for picture, frame in zip(decoded, [*frames, *frames[-1:] * 9], strict=True):
        assert picture.shape == (72, 130, 3)
        assert np.abs(picture.astype(float) - frame[:72, :130]).mean() < 2.5
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 3
        stands = []
        for number, frame in enumerate(frames):
            film.seek(number)
            stands.append(film.info["duration"])
            assert np.abs(np.asarray(film.convert("RGB")).astype(float) - frame).mean() < 2.5
    assert stands == [200, 200, 2000]


def test_films_are_made_frame_by_frame(tmp_path):
    """Memory that numpy takes for an MP4 is that of a few of its 20 pictures, of 750 kB each."""
    for step in range(20):
        keep_picture(filled(COLOURS[step % 3], size=(5, 5)), tmp_path, step)
    tracemalloc.start()
    save_film(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "film.gif").exists()
    assert peak < 10 * 500 * 500 * 3


def test_without_the_extra_there_is_a_gif(frames, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    save_film(tmp_path)
    assert (tmp_path / "film.gif").exists()
    assert not (tmp_path / "film.mp4").exists()


@pytest.mark.parametrize("backend", ["agg", "tkagg"])
def test_without_a_display_no_window_is_promised(backend, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setitem(matplotlib.rcParams, "backend", backend)
    path = tmp_path / "any.toml"
    path.write_text('[sequence]\nkind = "gradient_echoes"\n[learn]\nfree = ["flip_angle"]\n')
    assert main(["optimize", str(path), "-o", str(tmp_path / "run"), "--live"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "no window can be opened" in told
    assert "state.png" in told
    assert not (tmp_path / "run").exists()


def test_a_window_shows_each_picture_until_it_is_closed(monkeypatch):
    with pytest.raises(ProtocolError):
        Window()
    monkeypatch.setattr(backend_registry, "list_builtin", lambda kind: [])  # agg counts as a window
    window, told = Window(), []
    for colour in COLOURS:
        window.show(filled(colour))
        assert np.array_equal(window._image.get_array()[2, 2, :3], np.round(255 * np.array(colour)))
    window.along(lambda *progress: told.append(progress))(1, 2, "what")
    assert told == [(1, 2, "what")]
    window._pyplot.close("all")
    window.show(filled(COLOURS[0]))
    window.along(silent)(2, 2, "what")
    assert window._pyplot.get_fignums() == []
