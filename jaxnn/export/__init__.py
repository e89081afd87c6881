"""Networks for use without jaxnn: ONNX, StableHLO, a file of NumPy, weights.

network     what is exported, of a run or of one's own, and the files of all formats
walk        a function of JAX becomes a list of operations   (the jaxpr of its plain form)
lower       each primitive as one of a few operations
graph       these operations
onnx_file   the operations as nodes of ONNX
numpy_file  the operations as lines of Python                (with the functions of `plain`)
"""

from jaxnn.export.network import Network as Network
from jaxnn.export.network import files as files
from jaxnn.export.network import of as of
from jaxnn.export.network import of_run as of_run
from jaxnn.export.network import write as write
