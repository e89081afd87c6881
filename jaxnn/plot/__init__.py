"""Figures of runs and of what networks answer, as matplotlib's `Figure`: a notebook shows them, `savefig` writes them.

No pyplot and no state: nothing is open, and nothing has to be closed. The same functions draw report.html.
"""

from jaxnn.plot.answers import calibration as calibration
from jaxnn.plot.answers import confusion as confusion
from jaxnn.plot.answers import predicted as predicted
from jaxnn.plot.answers import residuals as residuals
from jaxnn.plot.curves import history as history
