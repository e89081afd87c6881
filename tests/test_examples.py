"""The lecture's pictures are drawn, and the counts that they print are those that the lecture claims."""

import functools
import re
import runpy
import sys
from pathlib import Path

import jax
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def draw(tmp_path, capsys, monkeypatch):
    """Runs an example as a user does; what it prints, once its picture has been looked at."""

    def run(name: str) -> str:
        quickly = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
        monkeypatch.setattr(jax, "jit", quickly)  # most of the time is compilation
        monkeypatch.syspath_prepend(str(EXAMPLES))
        monkeypatch.setattr(sys, "argv", [f"{name}.py", str(tmp_path / "pictures")])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        with Image.open(tmp_path / "pictures" / f"{name}.png") as picture:
            assert picture.width > 800 and len(set(picture.convert("RGB").resize((80, 40)).get_flattened_data())) > 20
        return capsys.readouterr().out

    return run


def numbers(pattern: str, text: str) -> list[float]:
    found = re.search(pattern, text)
    assert found, text
    return [float(number) for number in found.groups()]


@pytest.mark.long
def test_sgd_escapes_and_gradient_descent_does_not(draw):
    told = draw("descent")
    (gd,) = numbers(r"200 seeds, 800 steps: GD escapes ([\d.]+)%", told)
    (sgd,) = numbers(r"200 seeds, 800 steps: SGD escapes ([\d.]+)%", told)
    assert gd == 0 and sgd > 50
    for what in ("double well", "logistic regression"):
        still, shaken, ratio = numbers(rf"{what}: .* GD (\S+), SGD (\S+), ratio (\S+)", told)
        assert shaken > 5 * still and ratio > 5


def test_the_slopes_of_activations(draw):
    told = draw("activations")
    steepest = {name: float(slope) for name, slope in re.findall(r"(\w+): slope at most ([\d.]+)", told)}
    assert steepest["sigmoid"] == 0.25 and steepest["tanh"] == steepest["relu"] == steepest["leaky_relu"] == 1
    assert len(steepest) == 9 and steepest["silu"] > 1


def test_finite_differences_are_costly_and_unstable(draw):
    told = draw("finite_differences")
    assert numbers(r"(\d+) parameters: (\d+) evaluations", told) == [387, 388]
    error, eps, tiny = numbers(r"float32: (\S+) at eps = (\S+), the best; (\S+) at 1e-06", told)
    assert error < 1e-2 and 1e-4 < eps < 1e-2 and tiny > 0.5


def test_the_gradient_vanishes_behind_sigmoids_and_not_behind_relus(draw):
    told = draw("vanishing_gradient")
    ratio = lambda name: numbers(rf"{name}, 20 layers: .* = (\S+)", told)[0]
    assert ratio("sigmoid") < 1e-6 and ratio("relu") > 1e-2
