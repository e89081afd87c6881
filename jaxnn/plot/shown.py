"""A figure that a notebook shows, whether pyplot was imported or not."""

from __future__ import annotations

from matplotlib import figure

from jaxnn.plot import style


class Figure(figure.Figure):
    """matplotlib's `Figure`, which only pyplot teaches a notebook to show."""

    def _repr_png_(self) -> bytes:
        return style.packed(self, "png")
