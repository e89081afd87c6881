"""What a notebook shows of a run: a few figures, its network and its learning curves."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import jax

from jaxnn.errors import InputError
from jaxnn.plot import curves, style
from jaxnn.report.page.html import number
from jaxnn.store import history

if TYPE_CHECKING:
    from jaxnn.predict import Run


def card(run: Run) -> str:
    """HTML of a run: what it was trained on, its last metrics and, where its folder is there, its curves."""
    rows: list[dict[str, Any]] = history.intervals(run.folder) if run.folder else []
    last = (rows[-1] if rows else {}) | (history.last(run.folder) if run.folder else {})
    count = sum(leaf.size for leaf in jax.tree.leaves(run.params))
    facts = [run.data.get("name", ""), run.task.name, f"{count:,} parameters", f"seed {run.config.seed}"]
    metrics = [(name, number(value)) for name, value in last.items() if name.count("/") == 1 and "second" not in name]
    cells = "".join(f"<tr><td>{_text(name)}</td><td>{_text(value)}</td></tr>" for name, value in metrics[:12])
    try:
        drawn = style.svg(curves.history(run), "learning curves", "notebook") if rows else ""
    except (InputError, OSError):  # the folder has changed since
        drawn = ""
    title = f"<b>{_text(run.config.name)}</b><br>{_text(' · '.join(facts))}"
    return f"<div style='max-width: 960px'>{title}<table>{cells}</table>{drawn}</div>"


def _text(value: Any) -> str:
    return html.escape(style.cut(value, 100))
