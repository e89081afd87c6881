"""Arrays by path as a safetensors file, the one writer of that format; and a digest of each."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import jax
import numpy as np

from jaxnn import tree
from jaxnn.errors import InputError

DTYPES = {  # what safetensors calls them
    "bool": "BOOL", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "uint8": "U8", "uint16": "U16",
    "uint32": "U32", "uint64": "U64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "complex64": "C64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip


def digest(path: str, leaf: np.ndarray) -> str:
    """SHA-256 of an array with its path, dtype and shape."""
    sha = hashlib.sha256(f"{path} {leaf.dtype.name} {list(leaf.shape)}\n".encode())
    sha.update(content(leaf))
    return sha.hexdigest()


def digest_all(leaves: dict[str, np.ndarray]) -> str:
    """One SHA-256 for all of them, in whatever order they come."""
    return hashlib.sha256("".join(digest(path, leaves[path]) for path in sorted(leaves)).encode()).hexdigest()


def flatten(values: Any) -> dict[str, np.ndarray]:
    """The leaves by path (`dense_0/w`), on the host."""
    leaves: dict[str, np.ndarray] = {}
    for path, leaf in jax.tree.leaves_with_path(values):
        name = tree.name(path)
        kind = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        if kind.name not in DTYPES:
            raise InputError(f"{name}={kind}: cannot be saved; use a plain dtype (of a PRNG key, jax.random.key_data)")
        if name in leaves:
            raise InputError(f"{name}: two leaves have this path; rename one")
        leaves[name] = np.asarray(leaf)
    return leaves


def restore(leaves: dict[str, np.ndarray], shapes: Any, name: str = "checkpoint") -> Any:
    """The pytree like `shapes` with these leaves: the same paths, shapes and dtypes, nothing cast or filled in.

    `name` is what errors call the leaves. Raises `InputError` for a leaf that is missing, unexpected, or of another
    shape or dtype.

    >>> restore({"w": np.ones(2, np.float32)}, {"w": jax.ShapeDtypeStruct((2,), "float32")})
    {'w': array([1., 1.], dtype=float32)}
    >>> restore({"w": np.ones(2, np.float32)}, {"b": jax.ShapeDtypeStruct((2,), "float32")})
    Traceback (most recent call last):
    ...
    jaxnn.errors.InputError: checkpoint: missing ['b'], unexpected ['w']; is it from another model?
    """
    structure = jax.tree.structure(shapes)
    wanted = tree.by_name(shapes)
    if wanted.keys() != leaves.keys():
        missing, extra = sorted(wanted.keys() - leaves.keys())[:3], sorted(leaves.keys() - wanted.keys())[:3]
        raise InputError(f"{name}: missing {missing}, unexpected {extra}; is it from another model?")
    for path, leaf in wanted.items():
        if (leaves[path].shape, leaves[path].dtype) != (leaf.shape, leaf.dtype):
            given, needed = (f"{a.dtype}{list(a.shape)}" for a in (leaves[path], leaf))
            raise InputError(f"{name}[{path}]={given}: must be {needed}; is it from another model?")
    return jax.tree.unflatten(structure, [leaves[path] for path in wanted])


def content(leaf: np.ndarray) -> memoryview:
    """The bytes of an array, in the order of its axes."""
    return np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data


def header(leaves: dict[str, np.ndarray], **about: str) -> bytes:
    """The first bytes of a safetensors file: their number, then JSON: `about`, and where each array is."""
    described: dict[str, Any] = {"__metadata__": about} if about else {}
    at = 0
    for path, leaf in leaves.items():
        offsets = [at, at := at + leaf.nbytes]
        described[path] = {"dtype": DTYPES[leaf.dtype.name], "shape": leaf.shape, "data_offsets": offsets}
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
