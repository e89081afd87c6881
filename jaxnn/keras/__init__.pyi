from . import activations as activations
from . import backend as backend
from . import callbacks as callbacks
from . import datasets as datasets
from . import initializers as initializers
from . import layers as layers
from . import losses as losses
from . import metrics as metrics
from . import models as models
from . import optimizers as optimizers
from . import regularizers as regularizers
from . import tf as tf
from . import utils as utils
from .base import Layer as Layer
from .callbacks import Callback as Callback
from .initializers import Initializer as Initializer
from .inputs import Input as Input
from .inputs import InputLayer as InputLayer
from .losses import Loss as Loss
from .metrics import Metric as Metric
from .models import Model as Model
from .models import Sequential as Sequential
from .optimizers import Optimizer as Optimizer
from .regularizers import Regularizer as Regularizer

__version__: str
