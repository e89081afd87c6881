"""Keras' callbacks, with Keras' arguments, hooks and words."""

from jaxnn.keras.callbacks.base import Callback as Callback
from jaxnn.keras.callbacks.base import CallbackList as CallbackList
from jaxnn.keras.callbacks.base import History as History
from jaxnn.keras.callbacks.base import LambdaCallback as LambdaCallback
from jaxnn.keras.callbacks.monitors import EarlyStopping as EarlyStopping
from jaxnn.keras.callbacks.monitors import ModelCheckpoint as ModelCheckpoint
from jaxnn.keras.callbacks.monitors import ReduceLROnPlateau as ReduceLROnPlateau
from jaxnn.keras.callbacks.progress import ProgbarLogger as ProgbarLogger
from jaxnn.keras.callbacks.records import CSVLogger as CSVLogger
from jaxnn.keras.callbacks.records import LearningRateScheduler as LearningRateScheduler
from jaxnn.keras.callbacks.records import TensorBoard as TensorBoard
from jaxnn.keras.callbacks.records import TerminateOnNaN as TerminateOnNaN
