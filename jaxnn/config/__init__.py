"""The settings of a run; nothing in here imports jax."""

from jaxnn.config.settings import CheckpointConfig as CheckpointConfig
from jaxnn.config.settings import Config as Config
from jaxnn.config.settings import DataConfig as DataConfig
from jaxnn.config.settings import ModelConfig as ModelConfig
from jaxnn.config.settings import OptimConfig as OptimConfig
from jaxnn.config.settings import TaskConfig as TaskConfig
