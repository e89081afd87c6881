"""What is wrong with a run, by what is seen of it: each finding is one sentence, with a flag as its cure.

In the order of causes: what a network begins with, how it was trained, what it answers. Where an earlier cause is found
the later ones are not looked for: a network whose gradient vanishes moves little, whatever its learning rate is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from jaxnn.report.diagnosis import DEAD, EXPLODED, VANISHED, never_better
from jaxnn.report.evidence import Evidence
from jaxnn.report.examination import Look, layer_of

UNSCALED = 10.0  # the root of the mean square of the input; standardised it is 1, of pixels from 0 to 1 about 0.4
SATURATED = 0.75  # share of the outputs of a layer
FIRST_LOSS = (2.0, 1.0)  # a first loss above 2 log K + 1 is no guess: wrong answers are given with confidence
UNMOVED, UNLEARNED = 0.1, 0.5  # too low a rate: the weights moved by less than 10 %, and half of the loss is left
WILD, NO_GAIN = 1.0, 0.9  # too high: they moved by more than their norm, and 90 % of the loss is left
RARE = 5  # times as frequent as all other classes together


class Finding(NamedTuple):
    """What is wrong, by one word, and the sentence that says it."""

    name: str
    text: str


def findings(evidence: Evidence) -> list[Finding]:
    """What is wrong, causes first; nothing where nothing is."""
    steps: list[Callable[[Evidence], Iterator[Finding]]] = [_beginning, _training, _answers]
    for step in steps:
        if found := list(step(evidence)):
            return found
    return []


def _beginning(evidence: Evidence) -> Iterator[Finding]:
    """Of the network before the first step: what it is given, and whether a gradient comes back through it."""
    look, end = evidence.start, evidence.end
    for leaf in end.signals.first:  # in the end, as a batch norm that takes the input has its statistics then
        if (size := end.signals.inputs[leaf]) > UNSCALED:
            what = f"{leaf}: its input is of size {size:.3g}, where 1 is usual: it is unscaled"
            yield Finding("unscaled", f"{what}; add --data.standardize")
            return
    if look is None:
        return
    # What the steps have mended is nothing to tell of: a batch norm may begin with a scale of 0.
    full = {path: look.layers[path].saturated or 0.0 for path in _saturated(look) if path in _saturated(end)}
    if full:
        path = max(full, key=lambda path: full[path])
        what = f"{path}: {full[path]:.0%} of its outputs are saturated from the first step on, their slope is nearly 0"
        yield Finding("saturated", f"{what}; begin with smaller weights, --model.init glorot")
        return
    if path := next((path for path in _dead(look) if path in _dead(end)), None):
        share, cure = look.layers[path].dead, "try --model.activation leaky_relu, or begin with biases of 0"
        what = f"{path}: {share:.0%} of its units are dead from the first step on, no example trains them"
        yield Finding("dead", f"{what}; {cure}")
    yield from _vanished(look)
    factor, more = FIRST_LOSS
    if evidence.guess is not None and look.loss > factor * evidence.guess + more:
        rule = f"a network that knows nothing has {evidence.guess:.3g}, log K"
        cure = "begin the last layer with smaller weights, --model.init auto"
        yield Finding("first_loss", f"train/loss={look.loss:.3g} before the first step: {rule}; {cure}")


def _saturated(look: Look) -> list[str]:
    return [path for path, layer in look.layers.items() if (layer.saturated or 0) > SATURATED]


def _dead(look: Look) -> list[str]:
    """Dead layers, the one nearest to the output first: those before it get no gradient because of it.

    A saturated layer has gradients of exactly 0 too, and another cure.
    """
    dead = [path for path, layer in look.layers.items() if (layer.dead or 0) >= DEAD and layer.saturated is None]
    return dead[::-1]


def _vanished(look: Look) -> Iterator[Finding]:
    """Of the gradients of the outputs by the weights: no layer has less than a millionth of another one."""
    pulls = {layer_of(leaf): look.layers[layer_of(leaf)].pull for leaf in look.signals.inputs}
    pulls = {path: pull for path, pull in pulls.items() if look.layers[path].gradient > 0}
    if len(pulls) < 2:
        return
    least, most = min(pulls, key=lambda path: pulls[path]), max(pulls, key=lambda path: pulls[path])
    ratio = pulls[least] / max(pulls[most], 1e-30)
    if ratio >= VANISHED:
        return
    order = list(pulls)
    if order.index(least) < order.index(most):
        cure = "use fewer layers, --model.hidden, or --model.activation relu"
        yield Finding("vanished", f"{least}: its gradient has vanished, {ratio:.0e} of that of {most}; {cure}")
    elif pulls[most] > EXPLODED:
        cure = "use fewer layers, --model.hidden, or set --optim.clip_norm 1"
        yield Finding("exploded", f"{most}: its gradient explodes, {1 / ratio:.0e} times that of {least}; {cure}")


def _training(evidence: Evidence) -> Iterator[Finding]:
    """What the steps did: too much, or too little."""
    start, end, moved = evidence.start, evidence.end, evidence.moved
    lower = "lower --optim.lr" if evidence.lr is None else f"lower it, --optim.lr {evidence.lr / 10:.2g}"
    rate = "the learning rate" if evidence.lr is None else f"lr={evidence.lr:g}"
    if evidence.failed:
        yield Finding("rate_high", f"{rate}: too high, the run ended with a number that is not finite; {lower}")
        return
    losses = [row["train/loss"] for row in evidence.rows if row.get("train/loss") is not None] or [end.loss]
    if start is not None and moved is not None and start.loss > 0:
        left = min(losses[-1], end.loss) / start.loss
        if moved > WILD and left > NO_GAIN:
            what = f"the weights moved by {moved:.3g} times their norm, and the loss is {left:.3g} times the first one"
            yield Finding("rate_high", f"{rate}: too high, {what}; {lower}")
            return
        if moved < UNMOVED and left > UNLEARNED:
            more = "raise --optim.lr" if evidence.lr is None else f"raise it, --optim.lr {evidence.lr * 10:.2g}"
            what = f"the weights moved by {moved:.2%} of their norm, and {left:.0%} of the first loss is left"
            yield Finding("rate_low", f"{rate}: too low, {what}; {more} or more (jaxnn lr finds one)")
            return
    for path in _dead(end)[:1]:
        what = f"{path}: {end.layers[path].dead:.0%} of its units have died, no example trains them"
        yield Finding("dead", f"{what}; {lower}, or try --model.activation leaky_relu")
    for path in _saturated(end)[:1]:
        share = end.layers[path].saturated
        what = f"{path}: {share:.0%} of its outputs are saturated in the end, their slope is nearly 0"
        yield Finding("saturated", f"{what}; {lower}, or set --optim.alpha 1e-3")


def _answers(evidence: Evidence) -> Iterator[Finding]:
    """What it answers: always the same, or nothing better than that."""
    answers, classes = evidence.answers, evidence.classes
    if answers is not None and classes is not None and len(np.unique(answers)) == 1:
        y = np.asarray(evidence.parts["train"].y)
        counts = np.bincount(y.astype(np.int64), minlength=len(classes))
        most = int(counts.argmax())
        if most == answers[0] and counts[most] >= RARE * (counts.sum() - counts[most]):
            share = counts[most] / counts.sum()
            what = f"{classes[most]}: is {share:.1%} of the training examples, and the only answer that is given"
            yield Finding("imbalance", f"{what}: the classes are imbalanced; add --data.class_weight balanced")
            return
    yield from (Finding("constant", text) for text in never_better(evidence.parts, evidence.rows))
