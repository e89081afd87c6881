"""Augmentation: of an image, `(key, x) -> x`; of a batch, `(batch, key) -> batch`, for `Recipe.augment`."""

from jaxnn.augment.batches import rows as rows
from jaxnn.augment.batches import with_flips as with_flips
from jaxnn.augment.images import affine as affine
from jaxnn.augment.images import color_jitter as color_jitter
from jaxnn.augment.images import crop as crop
from jaxnn.augment.images import cutout as cutout
from jaxnn.augment.images import flip as flip
from jaxnn.augment.images import rotate as rotate
from jaxnn.augment.images import shift as shift
from jaxnn.augment.labels import moving as moving
from jaxnn.augment.mixing import cutmix as cutmix
from jaxnn.augment.mixing import mixup as mixup
