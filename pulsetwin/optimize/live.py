"""A window that shows each picture of a run while it learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pulsetwin.errors import ProtocolError
from pulsetwin.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_REMEDY = "; leave --live out, and look at state.png in the folder, which each picture replaces"


class Window:
    """A window of matplotlib; once it is closed, nothing is shown any more.

    Raises
    ------
    ProtocolError
        If no window can be opened.
    """

    def __init__(self) -> None:
        from matplotlib import pyplot
        from matplotlib.backends.registry import BackendFilter, backend_registry

        backend = pyplot.rcParams["backend"]
        try:
            pyplot.switch_backend(backend)
        except ImportError as error:
            raise ProtocolError(f"no window can be opened: {error}{_REMEDY}") from None
        if backend.lower() in backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE):
            raise ProtocolError(f"no window can be opened: without a display, matplotlib has only {backend}{_REMEDY}")
        self._pyplot, self._number = pyplot, None

    def show(self, figure: Figure) -> None:
        """Show a picture; the first one opens the window."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())
        if self._number is None:
            self._open(picture, figure.get_size_inches(), figure.dpi)
        elif self._pyplot.fignum_exists(self._number):
            self._image.set_data(picture)
        self.breathe()

    def breathe(self) -> None:
        """Let the window answer its user."""
        if self._number is not None and self._pyplot.fignum_exists(self._number):
            self._canvas.draw_idle()
            self._canvas.flush_events()

    def along(self, progress: Progress) -> Progress:
        """Return a progress that lets the window answer its user, too."""

        def told(done: int, total: int, what: str) -> None:
            progress(done, total, what)
            self.breathe()

        return told

    def _open(self, picture: np.ndarray, size: np.ndarray, dpi: float) -> None:
        own = self._pyplot.figure("pulsetwin optimize", size, dpi=dpi)
        self._number, self._canvas = own.number, own.canvas
        axes = own.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[])
        self._image = axes.imshow(picture)
        self._pyplot.show(block=False)
