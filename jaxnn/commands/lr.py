"""`jaxnn lr`: a learning rate for a config, by short runs at each of a grid of rates."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from jaxnn.commands import arguments, environment, shown
from jaxnn.config.paths import CONFIGS
from jaxnn.errors import InputError, printable

if TYPE_CHECKING:  # which imports jax
    from jaxnn.sweep.rates import Curve

USAGE = """usage: jaxnn lr [CONFIG] [flags]

A learning rate for a config: the network is trained for a tenth of the run (2,000 steps or more) at each of 20 rates,
as one compiled program, and the rate is named that ends with the least validation loss, and is not beside those that
diverge. On a terminal a curve, in a pipe JSON; nothing is written.

  CONFIG, flags            those of jaxnn train, but for --optim.lr
"""
WIDTH = 40  # of a bar


def lr(argv: list[str]) -> int:
    """`jaxnn lr`: the exit code."""
    if not {"-h", "--help"}.isdisjoint(argv):
        print(USAGE.strip())
        return 0
    given = next((word for word in argv if word.partition("=")[0] == "--optim.lr"), None)
    if given is not None:
        raise InputError(f"{given}: is what is looked for; leave it out")
    request = arguments.parse(argv, CONFIGS)
    if request.sweep or request.flags.several():
        raise InputError(f"lr {' '.join(argv)}: a learning rate is found for one run; leave out what asks for several")
    config = request.flags.run
    with environment.for_jax():
        from jaxnn.data import from_config
        from jaxnn.devices import cache, mesh
        from jaxnn.sweep import rates
    if not request.flags.no_cache:
        cache.keep_programs()
    data = from_config(config.data, config.task.name, keep=not request.flags.no_cache, arrays=request.brought.data)
    request.check_digest(data.digest)
    with mesh.use(1, config.dtype):
        curve = rates.find(config, data, request.brought)
    command = shlex.join(["jaxnn", "train", *argv, "--optim.lr", f"{curve.best:g}"])
    values = {"rates": curve.rates.tolist(), "losses": curve.losses.tolist(), "steps": curve.steps}
    shown.values(values | {"lr": curve.best, "command": command}, lambda _: _show(curve, command))
    return 0


def _show(curve: Curve, command: str) -> None:
    finite = curve.losses[curve.losses < float("inf")]
    least, most = finite.min(), min(finite.max(), curve.losses[0])
    print(f"loss after {curve.steps:,} steps, by learning rate")
    for rate, loss in zip(curve.rates, curve.losses, strict=True):
        share = (min(loss, most) - least) / max(most - least, 1e-30)
        mark = " <" if f"{rate:.2g}" == f"{curve.best:.2g}" else ""
        text = "diverges" if loss == float("inf") else f"{loss:.4g}"
        print(f"{rate:9.2g}  {text:>9}  {'#' * round(WIDTH * share)}{mark}")
    print(printable(command))
