"""Training as one compiled scan: a chunk of steps between two host events never returns to the host.

    descent     one step: gradient, update                                     (jax.grad, optax)
    parts       a batch in parts, for the CPU's cache or for less memory       (lax.scan)
    scan        n steps over a `Window` of rows                                (lax.scan)
    evaluation  sums over all rows of a set; probabilities of new rows         (lax.scan)
    tally       the sums of an interval of the history, on the host            (float64)
    fitting     a whole run, itself pure: usable under jit, vmap and grad

All of them are plain functions of a `Recipe`. A run draws on its key for three things, none of which is carried: the
initial weights, the order of the rows, and the noise of step t. So `State` is all that a run is, and step t is the same
however the run is cut. Nothing is donated: the state before a chunk is what a fault is replayed from, and what a save
beside the steps reads.
"""

from jaxnn.engine.descent import gradient as gradient
from jaxnn.engine.descent import init as init
from jaxnn.engine.descent import step as step
from jaxnn.engine.evaluation import evaluate as evaluate
from jaxnn.engine.evaluation import in_blocks as in_blocks
from jaxnn.engine.fitting import fit as fit
from jaxnn.engine.scan import steps as steps
