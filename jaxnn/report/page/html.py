"""A page: one file without script and without a remote address, for light and dark screens and for paper."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxnn.errors import printable
from jaxnn.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"


class Picture(NamedTuple):
    """A panel of a page: what its file is called, what is said in its place, and what draws it."""

    name: str
    text: str
    draw: Callable[[Axes], Any]

    def figure(self) -> Figure:
        figure, (axes,) = style.panels(1)
        self.draw(axes)
        return figure


class Page(NamedTuple):
    """The text of a page, and the pictures that matplotlib has drawn in it."""

    text: str
    pictures: Sequence[Picture]


@functools.cache
def _templates() -> Any:
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,  # Markup is a str of its own
    )
    found.filters |= {"cut": style.cut, "number": number, "percent": percent, "svg": _svg}
    return found


def warm() -> None:
    """Import all that makes a page, in a thread beside other work, and draw once."""
    import logging

    for name in ("matplotlib", "matplotlib.font_manager"):  # of a home that cannot be written, of fonts found anew
        logging.getLogger(name).setLevel(logging.ERROR)
    _templates().get_template("run.html")
    style.svg(Picture("", "", lambda axes: axes.set_title("0")).figure(), "", "")


def page(template: str, pictures: Sequence[Picture], **values: Any) -> Page:
    """A page of a template; names of all kinds in the values are text in it, whatever they hold."""
    return Page(_templates().get_template(template).render(values) + "\n", pictures)


def _svg(picture: Picture) -> Any:
    from markupsafe import Markup

    return Markup(style.svg(picture.figure(), picture.text, picture.name))


def number(value: Any) -> str:
    """A number in four digits, whole ones with all; a dash for none.

    >>> [number(value) for value in (0.123456, 12345, None, 1e-7)]
    ['0.1235', '12,345', '–', '1e-07']
    """
    if value is None or isinstance(value, float) and not math.isfinite(value):
        return "–"
    if isinstance(value, int) or isinstance(value, float) and value.is_integer() and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def percent(share: Any) -> str:
    """Of a share; one decimal where it is below 100 %, and a dash for none.

    >>> percent(0.9749), percent(1.0), percent(float("nan"))
    ('97.5 %', '100 %', '–')
    """
    if share is None or not math.isfinite(share):
        return "–"
    return f"{100 * share:.1f} %" if share < 1 else "100 %"


def files(page: Page, kind: str) -> dict[str, bytes]:
    """The pictures of a page as files of their own, by name: `png`, `svg` or `pdf`."""
    return {picture.name: style.packed(picture.figure(), kind) for picture in page.pictures}
