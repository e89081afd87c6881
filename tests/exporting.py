"""Files of exported networks, read as functions of x and held against JAX."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

from jaxnn import export

onnxruntime = pytest.importorskip("onnxruntime", reason="reads the files of ONNX; it is in the extra `test`")

RNG = np.random.default_rng(0)
F = RNG.normal(size=(5, 6)).astype(np.float32)
IMAGES = RNG.normal(size=(3, 8, 8, 4)).astype(np.float32)
WHOLE = RNG.integers(-7, 8, (5, 6)).astype(np.int32)
BYTES = RNG.integers(0, 256, (3, 16, 16, 3), np.uint8)


def module(folder: Path) -> ModuleType:
    """`predict_numpy.py` of a folder, imported."""
    spec = importlib.util.spec_from_file_location("predict_numpy", folder / "predict_numpy.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def session(folder: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # rows this few are answered by one thread; several wait for one another
    return onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])


def reading(folder: Path) -> dict[str, Callable[[Any], np.ndarray]]:
    """Each format that is there, as a function of x."""
    found: dict[str, Callable[[Any], np.ndarray]] = {}
    if (folder / "predict_numpy.py").exists():
        found["numpy"] = module(folder).outputs
    if (folder / "model.onnx").exists():
        opened = session(folder)
        found["onnx"] = lambda x: opened.run(None, {"x": x})[0]
    if (folder / "model.stablehlo").exists():
        exported = jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))
        found["stablehlo"] = lambda x: np.asarray(exported.call(x))
    return found


def agree(
    folder: Path, network: export.Network, x: np.ndarray, to: Any = ("numpy", "onnx"), rtol: float = 2e-5
) -> Path:
    """Written, each format gives what JAX gives, for all rows and for one."""
    path = export.write(network, folder / "exported", to)
    expected = np.asarray(jax.jit(network.apply)(network.params, x))
    for name, outputs in reading(path).items():
        for rows in (len(x),) if name == "stablehlo" else (len(x), 1):  # which compiles for each number
            found, wanted = outputs(x[:rows]), expected[:rows]
            assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), name
            np.testing.assert_allclose(found, wanted, rtol, 1e-6, err_msg=name)
    return path
