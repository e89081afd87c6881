"""The settings of a run; nothing in here imports jax."""

from jaxnn.config.data import DataConfig as DataConfig
from jaxnn.config.model import ModelConfig as ModelConfig
from jaxnn.config.optim import OptimConfig as OptimConfig
from jaxnn.config.settings import CheckpointConfig as CheckpointConfig
from jaxnn.config.settings import Config as Config
from jaxnn.config.task import TaskConfig as TaskConfig
