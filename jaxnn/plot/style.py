"""How figures look, and how one becomes SVG inside a page.

Colours are those of Okabe and Ito (2008), which people of every colour vision tell apart, each with dashes of its own;
black is the ink, which a dark page turns into its own.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from typing import TYPE_CHECKING, Any

from jaxnn.errors import printable

if TYPE_CHECKING:  # matplotlib is imported by those who draw
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # yellow is none on white
DASHES = ("-", "--", "-.", ":")
INK = "#000000"
PANEL = (4.2, 2.8)  # inches: at 72 points an inch, letters of 10 points are 12 pixels on a phone of 390
LONGEST = 24  # letters of a name in a figure
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # its block holds remote addresses, and a date


def panels(count: int, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of so many axes, in rows of `columns`.

    >>> figure, axes = panels(4)
    >>> len(axes), figure.get_size_inches().round(1).tolist()
    (4, [12.6, 5.6])
    """
    from jaxnn.plot.shown import Figure

    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in grid[count:]:
        unused.remove()
    for axes in grid[:count]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2, color=INK)
    return figure, list(grid[:count])


def line(number: int) -> dict[str, Any]:
    """The colour and the dashes of a line by its number; 28 differ."""
    return {"color": COLORS[number % len(COLORS)], "linestyle": DASHES[number % len(DASHES)]}


def word(text: Any, longest: int = LONGEST) -> str:
    """A name as a figure shows it: on one line, cut, a dollar a dollar and no formula.

    >>> word("a" * 200, 5), word("$x$")
    ('aaaa…', '\\\\$x\\\\$')
    """
    return cut(text, longest).replace("$", r"\$")


def cut(text: Any, longest: int) -> str:
    """The text on one line, of so many letters at most."""
    text = printable(str(text))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def legend(axes: Axes) -> None:
    """Where it hides least, and none of one line without a name."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)


def _saved(figure: Figure, kind: str, salt: str) -> bytes:
    """The bytes of a file; text stays text, and nothing depends on the clock."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file = io.BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's fonts have it
        if kind == "svg":  # savefig would draw all twice
            for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
                patch.set(facecolor="none", edgecolor="none")
            FigureCanvasSVG(figure).print_svg(file, metadata=NO_METADATA)
        else:
            figure.savefig(file, format=kind, metadata={"CreationDate": None} if kind == "pdf" else {}, dpi=150)
    return file.getvalue()


def packed(figure: Figure, kind: str) -> bytes:
    """The file of a figure: `png`, `svg` or `pdf`; of two figures made alike the bytes are the same."""
    return _saved(figure, kind, "jaxnn")


def svg(figure: Figure, text: str, salt: str) -> str:
    """`<svg role="img">` for the middle of a page: its ink is the page's, its letters are those of the page, and it has
    no address.

    text: what is said in place of the picture. salt: tells its clip paths from those of other figures of the page.
    """
    drawn = _saved(figure, "svg", salt).decode()
    drawn = drawn[drawn.index("<svg") :]  # what stands before it has remote addresses
    drawn = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", drawn, count=1, flags=re.DOTALL)
    size = re.search(r'viewBox="[^"]*"', drawn)
    label = html.escape(cut(text, 300))
    head = f'<svg role="img" aria-label="{label}" {size[0] if size else ""}>'
    drawn = head + drawn[drawn.index(">") + 1 :]
    drawn = re.sub(r'<g id="[^"]*">', "<g>", drawn).replace("xlink:href=", "href=")
    return re.sub(r'style="[^"]*"', _in_page, drawn).strip()


def _in_page(style: re.Match[str]) -> str:
    """The style of a part, in the ink and the letters of the page."""
    return re.sub(r"font-family: [^;\"]*;? ?", "", style[0].replace(INK, "currentColor"))
