"""One stratified, seeded cut of n examples in two."""

from __future__ import annotations

import numpy as np


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

    shuffled = rng.permutation(n)
    few = groups.astype(np.uint16) if len(counts) <= 2**16 else groups  # NumPy sorts 16 bits by radix
    by_group = shuffled[np.argsort(few[shuffled], kind="stable")]
    rank = np.arange(n) - (np.cumsum(counts) - counts)[groups[by_group]]  # place within its own group
    chosen = rank < take[groups[by_group]]
    return np.sort(by_group[~chosen]), np.sort(by_group[chosen])
