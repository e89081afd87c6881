"""How work grows with the size of a problem, counted, not timed; and what benchmarks/growth.py makes of times."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxnn
from jaxnn import data
from jaxnn.data import frame, overlap
from jaxnn.predict import Run
from jaxnn.report.page import answers, classes

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import growth  # noqa: E402  # pyright: ignore[reportMissingImports]


class Counted(list):
    """A list that counts how often it is gone through."""

    times = 0

    def __iter__(self) -> Iterator[Any]:
        self.times += 1
        return super().__iter__()


def texts(columns: int) -> pd.DataFrame:
    rows = np.array(["no", "yes"])[np.random.default_rng(0).integers(0, 2, (30, columns))]
    return pd.DataFrame(rows, columns=pd.Index([f"f{j}" for j in range(columns)])).assign(label=rows[:, 0])


@pytest.mark.parametrize("columns", [4, 40])
def test_the_list_of_features_is_gone_through_as_often_however_long_it_is(columns, monkeypatch):
    lists, seen = [], frame.Frame.seen
    monkeypatch.setattr(frame.Frame, "seen", lambda self, rows: lists.append(Counted(seen(self, rows))) or lists[-1])
    loaded = data.load(texts(columns))
    assert len(lists[0]) == 2 * columns and lists[0].times <= 12
    known = loaded.describe()
    known["features"] = Counted(known["features"])
    run = Run(jaxnn.Config(), jaxnn.linear(1), {}, jaxnn.binary(), known, lambda params, x: x)
    assert run.encode(texts(columns)).shape == (30, 2 * columns) and known["features"].times <= 2


def test_only_rows_that_are_in_both_parts_are_compared_and_hashes_are_looked_up_in_their_order(monkeypatch):
    class Rows(list):
        """Rows that know which of them were asked for."""

        def __getitem__(self, i: Any) -> Any:
            asked.append(i)
            return super().__getitem__(i)

    def looked_up(table: np.ndarray, values: np.ndarray, **more: Any) -> np.ndarray:
        found.append((len(table), bool((values[1:] >= values[:-1]).all())))
        return searchsorted(table, values, **more)

    asked, found, searchsorted = list[Any](), list[tuple[int, bool]](), np.searchsorted
    rng = np.random.default_rng(0)
    known, x = rng.integers(0, 2**60, (4_000, 1)), rng.integers(0, 2**60, (1_000, 1))
    x[[7, 9]] = known[[5, 3]]
    monkeypatch.setattr(np, "searchsorted", looked_up)
    pairs = overlap.repeated(Rows(x), Rows(known), overlap.hashes(x), overlap.hashes(known))  # pyright: ignore[reportArgumentType]
    assert pairs == [(7, 5), (9, 3)] and asked == [7, 5, 9, 3]
    assert all(in_order for size, in_order in found if size > 2)


@given(st.lists(st.integers(0, 9), min_size=1), st.lists(st.integers(0, 9), min_size=1), st.integers(1, 12))
def test_a_row_is_found_where_it_is_last_also_among_hashes_that_are_alike(x, known, kinds):
    a, b = np.array(x)[:, None], np.array(known)[:, None]
    hashes = [overlap.hashes(each) % np.uint64(kinds) for each in (a, b)]  # of which many are alike
    last = {h: j for j, h in enumerate(hashes[1].tolist())}
    place = [last.get(h) for h in hashes[0].tolist()]
    expected = [(i, j) for i, j in enumerate(place) if j is not None and x[i] == known[j]]
    assert overlap.repeated(a, b, *hashes) == expected


def slow(tree: ast.AST) -> Iterator[int]:
    """Lines where a loop copies all that it has gathered so far, or makes a set anew for each element it looks up."""
    names = lambda node: {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.While):
            for each in ast.walk(node):
                if isinstance(each, ast.Assign):
                    shown = [e for e in ast.walk(each.value) if isinstance(e, ast.List | ast.Tuple)]
                    copied = {s.value.id for e in shown for s in e.elts
                              if isinstance(s, ast.Starred) and isinstance(s.value, ast.Name)}  # fmt: skip
                    if copied & names(each.targets[0]):
                        yield each.lineno
        for place in getattr(node, "generators", ()):
            for each in (each for part in place.ifs for each in ast.walk(part) if isinstance(each, ast.Compare)):
                for made in each.comparators:
                    of = made.func.id if isinstance(made, ast.Call) and isinstance(made.func, ast.Name) else ""
                    if of in ("set", "list", "tuple", "sorted") and not names(made) & names(place.target):
                        yield each.lineno


def test_no_loop_copies_what_it_has_gathered():
    found = {path: list(slow(ast.parse(path.read_text()))) for path in (ROOT / "jaxnn").rglob("*.py")}
    assert not {str(path): lines for path, lines in found.items() if lines}
    assert len(list(slow(ast.parse("for a in b:\n    x, y = [*x, a], a")))) == 1
    assert len(list(slow(ast.parse("[a for a in b if a.name not in set(c)]")))) == 1


def test_operations_of_a_step_grow_as_layers_do():
    def operations(depth: int) -> int:
        model = jaxnn.mlp((8,) * depth, 3)
        recipe = jaxnn.Recipe(
            model, jaxnn.multiclass(3), jaxnn.optimizer(jaxnn.OptimConfig(), steps_per_epoch=1, total_steps=1)
        )
        batch = jaxnn.Batch(np.zeros((4, 8), np.float32), np.zeros(4, np.int32), np.ones(4, np.float32))
        state = jax.eval_shape(lambda key: jaxnn.engine.init(recipe, key, batch.x[0]), jax.random.key(0))
        step = lambda state, key: jaxnn.engine.step(recipe, state, batch, key)
        return str(jax.make_jaxpr(step)(state, jax.random.key(0))).count("\n")

    few, some, many = map(operations, (2, 6, 14))
    assert many - some == pytest.approx(2 * (some - few), rel=0.02)


def test_a_page_of_many_classes_has_no_table_of_their_pairs():
    k, n = 4_000, 50
    outputs = np.full((n, k), 1 / k, np.float32)
    y, right = np.arange(n, dtype=np.int32), np.arange(n) % 2
    found = answers.Answers("test", n, np.arange(n), np.zeros((n, 2), np.float32), y, outputs, y * right, False)
    known = {"classes": list(range(k)), "shape": [2], "features": None, "scale": None}
    tracemalloc.start()
    page = classes.of_one(jaxnn.multiclass(k), known, found)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert page["matrix"] is None and page["classes"] == k and most < k * k / 4


@pytest.mark.parametrize(("exponent", "fixed"), [(0.0, 1.0), (1.0, 2.0), (2.0, 0.5)])
def test_the_slope_is_the_exponent_of_what_grows(exponent, fixed):
    values = [10, 100, 1_000, 3_160, 10_000]
    costs = [fixed + 1e-3 * value**exponent for value in values]
    found = growth.slope(values, costs, least=growth.LEAST_SECONDS)
    assert found == pytest.approx(exponent, abs=0.02) if exponent else found is None


def test_what_grows_faster_than_it_should_is_marked():
    points = [{"axis": "depth", "value": v} | dict.fromkeys(growth.PARTS, 1e-4 * v**1.5) for v in (1, 10, 30, 100)]
    line = growth.table([*points, {"axis": "depth", "value": 300, "failed": "took more than 90 s"}]).splitlines()[-1]
    assert line.startswith("| depth, to 100 |") and line.count("1.51 (1) !") == len(growth.PARTS) - 2


@pytest.mark.long
def test_a_point_is_measured_as_a_run_is(tmp_path):
    argv = [sys.executable, growth.__file__, "--axes", "epochs", "--most", 1, "--json", tmp_path / "points"]
    argv += ["--picture", tmp_path / "picture.png"]
    done = subprocess.run(
        list(map(str, argv)), capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    (point,) = map(json.loads, (tmp_path / "points").read_text().splitlines())
    assert "| epochs, to 1 | - (0) |" in done.stdout
    assert set(growth.PARTS) < set(point) and all(point[part] > 0 for part in growth.PARTS)
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"
