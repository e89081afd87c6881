"""The names under which TensorFlow 2.11 and later have the optimizers of before; here they are the same."""

from jaxnn.keras.optimizers import SGD as SGD
from jaxnn.keras.optimizers import Adadelta as Adadelta
from jaxnn.keras.optimizers import Adagrad as Adagrad
from jaxnn.keras.optimizers import Adam as Adam
from jaxnn.keras.optimizers import Adamax as Adamax
from jaxnn.keras.optimizers import Nadam as Nadam
from jaxnn.keras.optimizers import RMSprop as RMSprop
