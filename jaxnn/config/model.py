"""The settings of the network."""

from __future__ import annotations

from dataclasses import dataclass

from jaxnn.config.names import ACTIVATIONS, INITIALISERS, MODELS
from jaxnn.config.values import typed
from jaxnn.errors import InputError, check, choices, fraction


@dataclass(frozen=True)
class ModelConfig:
    """The network. Shapes in and out follow from the data."""

    kind: str = "mlp"
    """linear, mlp or cnn"""
    hidden: tuple[int, ...] = (50, 50)
    """widths of the hidden dense layers; no width, no hidden layer"""
    activation: tuple[str, ...] = ("relu",)
    """one for all hidden layers, or one for each"""
    pieces: int = 2
    """linear pieces of a maxout unit"""
    channels: tuple[int, ...] = (32, 64)
    """cnn: channels of each block of convolution, activation and 2x2 max-pooling"""
    kernel: int = 3
    """cnn: height and width of the convolution"""
    dropout: float = 0.0
    """probability that a hidden unit is dropped in training"""
    input_dropout: float = 0.0
    """probability that an input is dropped in training"""
    init: str = "auto"
    """how weights begin: glorot, he, lecun, orthogonal; auto follows the activation"""

    def __post_init__(self) -> None:
        typed(self, "--model.")
        if self.kind not in MODELS:
            raise choices("--model.kind", self.kind, MODELS)
        if self.init not in INITIALISERS:
            raise choices("--model.init", self.init, INITIALISERS)
        for name in self.activation:
            if name not in ACTIVATIONS:
                raise choices("--model.activation", name, ACTIVATIONS)
        if self.kind == "linear" and self.dropout:
            rule = "a linear model has no hidden units; use --model.input_dropout"
            raise InputError(f"--model.dropout={self.dropout}: {rule}")
        layers = len(self.hidden) + (len(self.channels) if self.kind == "cnn" else 0)
        if self.kind != "linear" and len(self.activation) not in (1, layers):
            rule = f"must be one name, or one for each of the {layers} hidden layers"
            raise InputError(f"--model.activation={' '.join(self.activation)}: {rule}")
        for flag, sizes in (("--model.hidden", self.hidden), ("--model.channels", self.channels)):
            for size in sizes:
                check(flag, size, ">= 1", size >= 1)
        check("--model.pieces", self.pieces, ">= 2", self.pieces >= 2)
        check("--model.kernel", self.kernel, ">= 1", self.kernel >= 1)
        fraction("--model.dropout", self.dropout)
        fraction("--model.input_dropout", self.input_dropout)
