"""Train a neural network: `python train.py [CONFIG] [flags]` is `jaxnn train [CONFIG] [flags]`.

The run itself is jaxnn/train.py, to be read from top to bottom.
"""

import sys

from jaxnn.commands.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
