"""The layers of Keras that make up networks for tables and images."""

from typing import Any

from jaxnn.errors import nearest
from jaxnn.keras.base import Layer
from jaxnn.keras.inputs import Input, InputLayer
from jaxnn.keras.layers.activation import ELU, LeakyReLU, PReLU, ReLU, Softmax
from jaxnn.keras.layers.augmentation import (
    RandomBrightness,
    RandomContrast,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
)
from jaxnn.keras.layers.convolutional import (
    Conv2D,
    Conv2DTranspose,
    Convolution2D,
    Convolution2DTranspose,
    DepthwiseConv2D,
    SeparableConv2D,
    SeparableConvolution2D,
)
from jaxnn.keras.layers.core import (
    Activation,
    ActivityRegularization,
    Dense,
    Dropout,
    Flatten,
    Identity,
    Lambda,
    Permute,
    RepeatVector,
    Reshape,
)
from jaxnn.keras.layers.merging import (
    Add,
    Average,
    Concatenate,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    maximum,
    minimum,
    multiply,
    subtract,
)
from jaxnn.keras.layers.noise import AlphaDropout, GaussianDropout, GaussianNoise, SpatialDropout2D
from jaxnn.keras.layers.normalization import BatchNormalization, GroupNormalization, LayerNormalization
from jaxnn.keras.layers.pooling import (
    AveragePooling2D,
    AvgPool2D,
    GlobalAveragePooling2D,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GlobalMaxPooling2D,
    MaxPool2D,
    MaxPooling2D,
)
from jaxnn.keras.layers.preprocessing import Normalization, Rescaling, Resizing
from jaxnn.keras.layers.spatial import Cropping2D, UpSampling2D, ZeroPadding2D

__all__ = [
    "Activation",
    "ActivityRegularization",
    "Add",
    "AlphaDropout",
    "Average",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Conv2DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Cropping2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "ELU",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "GroupNormalization",
    "Identity",
    "Input",
    "InputLayer",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "MaxPool2D",
    "MaxPooling2D",
    "Maximum",
    "Minimum",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "Resizing",
    "SeparableConv2D",
    "SeparableConvolution2D",
    "Softmax",
    "SpatialDropout2D",
    "Subtract",
    "UpSampling2D",
    "ZeroPadding2D",
    "add",
    "average",
    "concatenate",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]


def __getattr__(name: str) -> Any:
    near = nearest(name, __all__)
    hint = f"; the nearest layer is {near}" if near else ""
    message = f"jaxnn.keras.layers has no {name}: jaxnn trains feed-forward networks on tables and images{hint}"
    # `from jaxnn.keras.layers import LSTM` would hide the words of an AttributeError.
    raise ImportError(message, name=name) if name[:1].isupper() else AttributeError(message, name=name)
