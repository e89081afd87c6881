"""Strict numerics for every test: no silent promotion of dtypes or ranks, and eight pretend devices."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAXNN_REPORT", "off")  # a page for each of a thousand runs would take minutes
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # the user's cache folder is none of the tests' business
if "JAXNN_TEST_PROGRAMS" not in os.environ:  # the workers of pytest-xdist inherit the folder
    os.environ["JAXNN_TEST_PROGRAMS"] = tempfile.mkdtemp(prefix="jaxnn-tests-")
    atexit.register(shutil.rmtree, os.environ["JAXNN_TEST_PROGRAMS"], ignore_errors=True)

import jax
import pytest

# What one test has compiled, no other one compiles: most of the time of the suite is compilation.
jax.config.update("jax_enable_compilation_cache", True)
jax.config.update("jax_compilation_cache_dir", os.environ["JAXNN_TEST_PROGRAMS"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def mnist_dir() -> Path:
    folder = os.environ.get("MNIST_DIR")
    if not folder:
        pytest.skip("MNIST_DIR is not set: the folder with train-images-idx3-ubyte.gz and its three companions")
    return Path(folder)


@pytest.fixture
def keras_itself() -> Iterator[Any]:
    """Keras 3 on JAX, by whose own rules dtypes and ranks are promoted."""
    os.environ["KERAS_BACKEND"] = "jax"
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield pytest.importorskip("keras")
