"""Where arrays live, and compiled programs that are kept."""

from jaxnn.devices.mesh import count as count
from jaxnn.devices.mesh import replicate as replicate
from jaxnn.devices.mesh import shard as shard
from jaxnn.devices.mesh import use as use
