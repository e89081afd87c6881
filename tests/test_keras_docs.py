"""docs/guide/keras.md is true: its example runs, and its line for `sed` changes imports and nothing else."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "guide" / "keras.md").read_text(encoding="utf-8")
BEFORE = """\
import keras
import tensorflow as tf
from keras import layers
from keras.utils import to_categorical
from tensorflow import keras
from tensorflow.keras.layers import Dense
import tensorflow.keras as K
model = tf.keras.Sequential()
"""
AFTER = """\
from jaxnn import keras
from jaxnn.keras import tf
from jaxnn.keras import layers
from jaxnn.keras.utils import to_categorical
from jaxnn import keras
from jaxnn.keras.layers import Dense
import jaxnn.keras as K
model = tf.keras.Sequential()
"""


@pytest.mark.long
def test_the_example_runs(tmp_path):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", program + "\nprint(accuracy)"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) > 0.95
    assert [path.name for path in tmp_path.iterdir()] == ["digits.keras"]


def test_imports_are_changed_by_the_line_for_sed(tmp_path):
    (command,) = re.findall(r"^(sed -E '.*?') script.py > changed.py$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "script.py").write_text(BEFORE)
    command += " script.py"
    done = subprocess.run(command, cwd=tmp_path, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout == AFTER
