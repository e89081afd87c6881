"""The settings of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxnn.config.names import ACTIVATIONS, INITIALISERS, MODELS, NORMS
from jaxnn.config.values import typed
from jaxnn.errors import InputError, check, choices, fraction


@dataclass(frozen=True)
class ModelConfig:
    """The network. Shapes in and out follow from the data.

    Examples:
      >>> import jaxnn
      >>> jaxnn.ModelConfig(hidden=(100, 100), activation=("tanh",)).hidden
      (100, 100)
    """

    kind: str = "mlp"
    """linear, mlp, cnn, resnet; unet, from images to a class for each pixel; detector, from images to boxes"""
    hidden: tuple[int, ...] = (50, 50)
    """widths of the hidden dense layers; no width, no hidden layer"""
    activation: tuple[str, ...] = ("relu",)
    """one for all hidden layers, or one for each"""
    pieces: int = 2
    """linear pieces of a maxout unit"""
    channels: tuple[int, ...] = (32, 64)
    """cnn: channels of each block of convolution, activation and 2x2 max-pooling; unet: of each level, from the top;
    detector: at half and at a quarter of the size"""
    kernel: int = 3
    """cnn: height and width of the convolution"""
    depth: int = 8
    """resnet: layers with weights, 6 n + 2 for three stages of n blocks: 8, 14, 20, 32, 44, 56, 110"""
    width: int = 16
    """resnet: channels of the first stage; the second has 2, the third 4 times as many"""
    norm: str = "batch"
    """resnet: batch, or group, by which no example depends on the others of its batch"""
    dropout: float = 0.0
    """probability that a hidden unit is dropped in training"""
    input_dropout: float = 0.0
    """probability that an input is dropped in training"""
    init: str = "auto"
    """how weights begin: glorot, he, lecun, orthogonal; auto follows the activation"""
    remat: bool = False
    """compute each block again for the gradient instead of keeping what it computed: less memory, more time, on an
    accelerator; on a CPU no less memory"""

    def __post_init__(self) -> None:
        typed(self, "--model.")
        if self.kind not in MODELS:
            raise choices("--model.kind", self.kind, MODELS)
        if self.init not in INITIALISERS:
            raise choices("--model.init", self.init, INITIALISERS)
        for name in self.activation:
            if name not in ACTIVATIONS:
                raise choices("--model.activation", name, ACTIVATIONS)
        if self.norm not in NORMS:
            raise choices("--model.norm", self.norm, NORMS)
        if self.kind in ("linear", "resnet", "unet", "detector") and self.dropout:
            rule = f"a {self.kind} model has no hidden dense units; add --model.dropout 0, or use --model.input_dropout"
            raise InputError(f"--model.dropout={self.dropout}: {rule}")
        layers = len(self.hidden) + (len(self.channels) if self.kind == "cnn" else 0)
        if self.kind in ("resnet", "unet", "detector") and (
            len(self.activation) != 1 or self.activation == ("maxout",)
        ):
            rule = f"must be one name, and not maxout, for a {self.kind}"
            raise InputError(f"--model.activation={' '.join(self.activation)}: {rule}")
        if self.kind in ("mlp", "cnn") and len(self.activation) not in (1, layers):
            rule = f"must be one name, or one for each of the {layers} hidden layers"
            raise InputError(f"--model.activation={' '.join(self.activation)}: {rule}")
        for flag, sizes in (("--model.hidden", self.hidden), ("--model.channels", self.channels)):
            for size in sizes:
                check(flag, size, ">= 1", size >= 1)
        check("--model.pieces", self.pieces, ">= 2", self.pieces >= 2)
        check("--model.kernel", self.kernel, ">= 1", self.kernel >= 1)
        check("--model.width", self.width, ">= 1", self.width >= 1)
        basic_blocks("--model.depth", self.depth)
        if self.kind == "detector":
            two_channels("--model.channels", self.channels)
            check("--model.kernel", self.kernel, "3 for a detector; leave it out", self.kernel == 3)
        for name in ("depth", "width", "norm"):
            if self.kind != "resnet" and getattr(self, name) != getattr(ModelConfig, name):
                rule = f"is for a resnet, and this is a network of kind {self.kind}; add --model.kind resnet"
                raise InputError(f"--model.{name}={getattr(self, name)}: {rule}")
        if self.kind == "unet" and (self.kernel != ModelConfig.kernel or not self.channels):
            given = ("kernel", self.kernel) if self.channels else ("channels", "")
            rule = "a unet has 3x3 convolutions, and a level or more"
            raise InputError(f"--model.{given[0]}={given[1]}: {rule}; leave it out, or name the channels of each level")
        if self.remat and self.kind == "linear":
            raise InputError("--model.remat=True: a linear model has one layer, nothing to compute again; leave it out")
        fraction("--model.dropout", self.dropout)
        fraction("--model.input_dropout", self.input_dropout)


def two_channels(flag: str, channels: Sequence[int]) -> None:
    """Refuse other channels of a detector than those at half and at a quarter of the size."""
    check(flag, " ".join(map(str, channels)), "two numbers, at half and at a quarter of the size", len(channels) == 2)


def basic_blocks(flag: str, depth: int) -> int:
    """How many blocks each stage of a resnet for small images has, of two layers each; a stem and a head are the rest.

    >>> basic_blocks("--model.depth", 20)
    3
    """
    near = max(6 * round((depth - 2) / 6) + 2, 8)
    rule = f"6 n + 2, as 8, 14, 20, 32, 44, 56, 110; the nearest is {near}"
    check(flag, depth, rule, depth >= 8 and depth % 6 == 2)
    return depth // 6
