"""Which examples are trained on, validated and tested on: stratified, by groups or by time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxnn.config.data import DataConfig
from jaxnn.data.keys import Key
from jaxnn.errors import InputError
from jaxnn.tasks.targets import Targets

Cut = Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]


def parts(found: Targets, config: DataConfig, key: Key | None = None) -> dict[str, np.ndarray]:
    """Which rows of what was given go into which part: the test examples first, then validation from what is left, so
    that the test does not depend on it.

    Args:
      found: the labels of the parts that were given.
      config: how large the others are to be.
      key: the column by which the rows are split, if by one.
    """
    left = np.arange(len(found.y["train"]))
    fractions = {"test": config.test_fraction, "validation": 0 if config.fold else config.validation_fraction}
    wanted = {part: fraction for part, fraction in fractions.items() if fraction and part not in found.y}
    cut, rows = _cut(found, config, key, wanted), {}
    for part, fraction in wanted.items():
        rest, chosen = cut(left, fraction)
        if len(chosen) == 0 or len(rest) == 0:
            raise InputError(
                f"--data.{part}_fraction={fraction}: leaves {len(chosen)} of {len(left)} examples for {part} "
                f"and {len(rest)} for training; neither may be 0, so change it, or use 0 for no {part} split"
            )
        left, rows[part] = left[rest], left[chosen]
    if config.fold is not None:
        left, rows["validation"] = _fold(found, config, left)
    return {"train": left, **rows}


def _fold(found: Targets, config: DataConfig, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows outside and inside one of the folds of what is left by the test."""
    k, n = config.which_fold
    if "validation" in found.y:
        rule = "the data have a validation set of their own"
        raise InputError(f"--data.fold={config.fold}: {rule}; leave the folds out, or move it into the training set")
    if n > len(left):
        raise InputError(f"--data.fold={config.fold}: there are {len(left)} examples to cut; use fewer folds")
    by = found.y["train"][left] if found.numbered else np.zeros(len(left), np.int32)
    inside = folds(np.random.default_rng(config.split_seed), by, n) == k
    return left[~inside], left[inside]


def told(found: Targets, config: DataConfig, key: Key, rows: dict[str, np.ndarray]) -> tuple[str, ...]:
    """What the split by a column left out: the column, and classes. Raises `InputError` where one class is left."""
    sizes = {part: f"{len(index)} examples" for part, index in rows.items()}
    if config.split_by:
        groups = key.groups()
        sizes = {part: f"{len(np.unique(groups[index]))} groups, {sizes[part]}" for part, index in rows.items()}
    listed = "; ".join(f"{part} {size}" for part, size in sizes.items())
    notes = (f"{key.grid.name}: split by {key.name}, which is no feature: {listed}",)
    if found.classes is None or not found.numbered:
        return notes
    trained = np.unique(found.y["train"][rows["train"]])
    if len(trained) < 2:
        flag = f"--data.split_by={config.split_by}" if config.split_by else f"--data.split={config.split}"
        raise InputError(f"{flag}: leaves one class to train on, {found.classes[trained[0]]}; split otherwise")
    lost = [str(found.classes[k]) for k in np.setdiff1d(np.arange(len(found.classes)), trained)]
    return notes + ((f"classes {', '.join(lost[:10])}: in no training example, by this split",) if lost else ())


def _cut(found: Targets, config: DataConfig, key: Key | None, wanted: dict[str, float]) -> Cut:
    """What cuts rows in two: `(rows, fraction) -> (rest, part)`, places in `rows`."""
    rng, y = np.random.default_rng(config.split_seed), found.y["train"]
    if key is not None and config.split_by:
        groups = key.groups()
        _refuse_few(f"--data.split_by={key.name}", "groups", groups, wanted)
        return lambda rows, fraction: by_group(rng, groups[rows], fraction)
    if key is not None:
        times = key.times()
        _refuse_few(f"--data.split={config.split}", "times", times, wanted)
        return lambda rows, fraction: by_time(times[rows], fraction)
    if wanted and found.numbered and found.classes is not None:
        (alone,) = np.nonzero(np.bincount(y) == 1)
        if len(alone):
            label = found.classes[alone[0]]
            amounts = "" if isinstance(label, str) else ", or add --task.name regression if these are amounts"
            cure = f"add some, or leave it out{amounts}"
            raise InputError(f"class {label}=1 example: a stratified split needs 2 or more; {cure}")
    by = y if found.numbered else np.zeros(len(y), np.int32)
    return lambda rows, fraction: stratified(rng, by[rows], fraction)


def _refuse_few(flag: str, what: str, values: np.ndarray, wanted: dict[str, float]) -> None:
    """Refuse values of which there are fewer than parts."""
    count = len(np.unique(values))
    if count <= len(wanted):
        need = f"{1 + len(wanted)} different {what} that {', '.join(wanted)} and train need"
        raise InputError(f"{flag}: has {count} of the {need}; split otherwise")


def by_group(rng: np.random.Generator, groups: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut `range(n)` into (rest, part), each group whole in one of them, with n fraction in the part as nearly as that
    allows: groups in a random order are taken while they fit, and the smallest one left if it brings the part nearer.

    Args:
      groups: i64[n], the number of each row's group.
      fraction: share of the part, in [0, 1).

    Returns:
      Two ascending index arrays, disjoint, together all of `range(n)`; at least one group is in the part.

    >>> import numpy as np
    >>> by_group(np.random.default_rng(0), np.array([0, 0, 1, 1, 1, 2]), 0.5)
    (array([2, 3, 4]), array([0, 1, 5]))
    """
    counts, wanted = np.bincount(groups), len(groups) * fraction
    size, taken, left = 0, np.zeros(len(counts), bool), []
    for group in rng.permutation(np.flatnonzero(counts)).tolist():
        if size + counts[group] <= wanted:
            taken[group], size = True, size + counts[group]
        else:
            left.append(group)
    smallest = min(left, key=lambda group: counts[group])
    taken[smallest] = size == 0 or (len(left) > 1 and counts[smallest] < 2 * (wanted - size))
    inside = taken[groups]
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def by_time(times: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut `range(n)` into (rest, part), the last n fraction rows by time in the part. Equal times are never cut apart:
    the cut is at the nearest change of time, of two equally near ones the earlier.

    Args:
      times: [n], numbers or dates.
      fraction: share of the part, in [0, 1).

    Returns:
      Two ascending index arrays, disjoint, together all of `range(n)`; the part is empty if all times are equal.

    >>> import numpy as np
    >>> by_time(np.array([3, 1, 2, 4, 4]), 0.2)
    (array([0, 1, 2]), array([3, 4]))
    """
    order = np.argsort(times, kind="stable")
    changes = np.flatnonzero(times[order[1:]] != times[order[:-1]]) + 1
    if not len(changes):
        return np.arange(len(times)), np.arange(0)
    at = changes[np.argmin(np.abs(changes - (len(times) - round(len(times) * fraction))))]
    return np.sort(order[:at]), np.sort(order[at:])


def folds(rng: np.random.Generator, groups: np.ndarray, n: int) -> np.ndarray:
    """Which of n folds each row is in, i64[len(groups)]: sizes, and the counts of each group, differ by 1 at most.

    >>> import numpy as np
    >>> fold = folds(np.random.default_rng(0), np.array([0, 0, 0, 0, 1, 1]), 2)
    >>> [(fold[:4] == k).sum().item() for k in (0, 1)], (fold[4:] == 0).sum().item()
    ([2, 2], 1)
    """
    shuffled, fold = rng.permutation(len(groups)), np.empty(len(groups), np.int64)
    fold[shuffled[np.argsort(groups[shuffled], kind="stable")]] = np.arange(len(groups)) % n
    return fold


def stratified(rng: np.random.Generator, groups: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut `range(n)` into (rest, part) with round(n fraction) in the part and each group's share within one example.

    Args:
      groups: i32[n], what to stratify by (zeros: a plain shuffle).
      fraction: share of the part, in [0, 1).

    Returns:
      Two ascending index arrays, disjoint, together all of `range(n)`; at least one of each group is in the rest.

    >>> import numpy as np
    >>> from jaxnn.data.split import stratified
    >>> rest, part = stratified(np.random.default_rng(0), np.array([0, 0, 0, 0, 1, 1]), 0.5)
    >>> (part < 4).sum().item(), (part >= 4).sum().item()
    (2, 1)
    """
    n = len(groups)
    counts = np.bincount(groups)
    share = counts * fraction
    take = np.floor(share).astype(int)
    # Largest remainders get what is left, as seats in a parliament do (Hamilton's method).
    most = np.argsort(take - share, kind="stable")
    take[most[: round(n * fraction) - take.sum()]] += 1
    take = np.clip(take, 0, np.maximum(counts - 1, 0))

    shuffled = rng.permutation(np.arange(n, dtype=np.int32))  # the order of `rng.permutation(n)`, in half its memory
    few = groups.astype(np.uint16) if len(counts) <= 2**16 else groups  # NumPy sorts 16 bits by radix
    by_group = shuffled[np.argsort(few[shuffled], kind="stable")]
    inside = np.zeros(n, bool)
    inside[by_group[np.arange(n) < np.repeat(np.cumsum(counts) - counts + take, counts)]] = True  # the first of a group
    return np.flatnonzero(~inside), np.flatnonzero(inside)
