"""docs/guide/keras.md has a line for `sed` that changes imports and nothing else."""

import re
import subprocess
from pathlib import Path

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


def test_imports_are_changed_by_the_line_for_sed(tmp_path):
    (command,) = re.findall(r"^(sed -E '.*?') script.py > changed.py$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "script.py").write_text(BEFORE)
    command += " script.py"
    done = subprocess.run(command, cwd=tmp_path, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout == AFTER
