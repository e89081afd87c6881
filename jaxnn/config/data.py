"""The settings of the data: what is learned from, and how it is split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from jaxnn.config.augment import parse
from jaxnn.config.names import COLORS, FEEDS, MISSING, NANS, RESIZES
from jaxnn.config.values import class_weight, typed
from jaxnn.errors import InputError, check, choices, fraction, non_negative

# The settings of data that say how an example is read.
READ_BY = (
    *("images", "image_size", "resize", "color", "target", "drop", "weight", "text", "delimiter", "positive"),
    *("split_by", "split", "nan"),
)


@dataclass(frozen=True)
class DataConfig:
    """What is learned from, and how it is split.

    Examples:
      >>> import jaxnn
      >>> jaxnn.DataConfig(name="iris", test_fraction=0.25).split_seed
      0
    """

    name: str = "digits"
    """digits, iris, wine, breast_cancer, diabetes, digits_masks or digits_boxes (bundled); mnist (IDX files in
    --data.dir); tfds:NAME (prepared); a path (./digits for a folder digits): a table (.csv, .tsv, .parquet, .feather),
    a .npz of arrays x and y (or x_train, y_train, x_test, y_test; weight and the like, and classes, besides), a folder
    of IDX files or of images (one sub-folder a class, or these in train, val and test); images with boxes or masks:
    COCO's .json, or a folder as of COCO, YOLO or Pascal VOC, or of images and masks (docs/guide/labels.md)"""
    dir: str | None = None
    """folder of the data files, for mnist, tfds:NAME and --data.images; of the images of a COCO .json"""
    images: str | None = None
    """table: the column with paths of images, from the folder of the table or --data.dir, which are learned from; the
    other columns are labels (--data.target), weights and what is split by"""
    image_size: str | None = None
    """images: HEIGHTxWIDTH in pixels, or one number for both (48x64, 64): all are resized to it, and their channels
    made alike: grey where all images are, otherwise rgb"""
    resize: str = "fit"
    """how images are resized: fit (the whole picture in the middle of black), fill (its middle, cut so that nothing is
    black) or stretch (height and width each on its own)"""
    color: str | None = None
    """images: all are made rgb or grey (default: as stored, or as --data.image_size says)"""
    target: str | tuple[str, ...] | None = None
    """table: the column to predict, or several (default: the last): numbers, or all of them 0 and 1 (multilabel)"""
    drop: tuple[str, ...] = ()
    """table: columns that are not learned from (id)"""
    weight: str | None = None
    """table or npz: the column or array with a weight for each example"""
    text: tuple[str, ...] = ()
    """table: columns whose cells are texts, even where they look like numbers (postcodes)"""
    missing: tuple[str, ...] = MISSING
    """table or npz: the words that mean a missing value, as an empty cell does"""
    delimiter: str | None = None
    """table: what stands between cells: comma, tab, semicolon, bar or a character (default: found in the first line)"""
    positive: str | None = None
    """this label against all the others (makes a binary task)"""
    class_weight: tuple[float, ...] | Literal["balanced"] | tuple[str, ...] | None = None
    """weights of the classes in the training loss (so in train/loss, not in other metrics, validation and test):
    one for each in order, or LABEL=WEIGHT for some (1 for the others), or "balanced" for n / (K count)"""
    validation: str | None = None
    """a file or folder of the same kind to validate on, instead of a part of the training examples"""
    validation_fraction: float = 0.1
    """part of the training examples kept for validation, stratified, where no validation set is given; 0 for none"""
    fold: str | None = None
    """2/5: validate on the second of five stratified parts of the training examples, in place of validation_fraction;
    --folds trains on each"""
    test_fraction: float = 0.2
    """part kept for testing, stratified, where the data have no test set"""
    split_seed: int = 0
    """seed of these splits (not of the training)"""
    split_by: str | None = None
    """table: a column of groups (patients), each of which stays in one part whole; it is not learned from"""
    split: str | None = None
    """table: time:COLUMN, numbers or ISO dates, and the last rows by it are the test, those before them the validation;
    it is not learned from"""
    standardize: bool | None = None
    """subtract the mean and divide by the deviation of each feature over the training examples (default: for tables,
    not for images; --data.no-standardize leaves features and amounts to predict as they are)"""
    nan: str = "refuse"
    """a missing value is refused; drop leaves out the examples that hold one, NaN or infinity, and says how many. In a
    table, mean or median fill numbers by that of the training examples, and texts by the most frequent one; category
    makes a feature COLUMN= of what is missing, and fills numbers by the median"""
    bad_records: int = 0
    """images: how many damaged ones may be left out, of all parts together"""
    max_boxes: int = 100
    """boxes: how many one image may have; all images are padded to the most that one has"""
    allow_overlap: bool = False
    """go on where a given validation or test set holds training examples"""
    feed: str = "auto"
    """resident: all rows are in memory; stream: they stay on the disk, and threads read those of the next steps while
    the devices compute, for a folder that `jaxnn convert` made, and tfds:NAME of images; the bits are the same. auto:
    stream where rows take more than a quarter of the memory"""
    augment: tuple[str, ...] = ()
    """images: what is drawn anew for each example of each step of the training: flip crop:PIXELS shift:PIXELS
    rotate:DEGREES affine:DEGREES[:SHIFT:SCALE:SHEAR] color_jitter:BRIGHTNESS[:CONTRAST:SATURATION:HUE] cutout:PIXELS,
    and mixup:ALPHA or cutmix:ALPHA, which mix two examples and their labels; masks and boxes move with their image"""

    def __post_init__(self) -> None:
        if isinstance(self.class_weight, str) and self.class_weight != "balanced":
            raise choices("--data.class_weight", self.class_weight, ["balanced"])
        if isinstance(self.image_size, int) and not isinstance(self.image_size, bool):
            object.__setattr__(self, "image_size", str(self.image_size))
        typed(self, "--data.")
        self._check_images()
        if isinstance(self.target, tuple):
            self._check_targets(self.target)
        fraction("--data.validation_fraction", self.validation_fraction)
        fraction("--data.test_fraction", self.test_fraction)
        if self.fold is not None:
            self._check_fold(self.fold)
        check("--data.split_seed", self.split_seed, ">= 0", self.split_seed >= 0)
        if self.split is not None:
            check("--data.split", self.split, "time:COLUMN", bool(self.time_column))
            if self.split_by is not None:
                rule = f"is one way to split, --data.split_by {self.split_by} another; leave one out"
                raise InputError(f"--data.split={self.split}: {rule}")
            if self.validation is not None:
                rule = "validates on the rows before the test, so not on a file of its own; leave --data.validation out"
                raise InputError(f"--data.split={self.split}: {rule}")
        if self.nan not in NANS:
            raise choices("--data.nan", self.nan, NANS)
        if self.feed not in FEEDS:
            raise choices("--data.feed", self.feed, FEEDS)
        parse(self.augment)
        check("--data.bad_records", self.bad_records, ">= 0", self.bad_records >= 0)
        check("--data.max_boxes", self.max_boxes, ">= 1", self.max_boxes >= 1)
        for weight in self.class_weight if isinstance(self.class_weight, tuple) else ():
            non_negative("--data.class_weight", class_weight(weight)[1])

    def _check_fold(self, fold: str) -> None:
        found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", fold)
        check("--data.fold", fold, "K/N, the K-th of N >= 2 parts", bool(found) and self.which_fold[1] >= 2)
        check("--data.fold", fold, "K/N with K <= N", self.which_fold[0] < self.which_fold[1])
        for flag in ("validation", "split", "split_by"):
            if (value := getattr(self, flag)) is not None:
                raise InputError(f"--data.{flag}={value}: says what to validate on, and so does a fold; leave one out")

    @property
    def which_fold(self) -> tuple[int, int]:
        """Which one it is, from 0, and of how many."""
        k, n = (self.fold or "1/1").split("/")
        return int(k) - 1, int(n)

    def _check_targets(self, names: tuple[str, ...]) -> None:
        listed = " ".join(names)
        check("--data.target", listed, "a column, or several", bool(names))
        if len(set(names)) < len(names):
            raise InputError(f"--data.target={listed}: names a column twice; leave one out")
        if len(names) == 1:
            object.__setattr__(self, "target", names[0])

    def _check_images(self) -> None:
        if self.resize not in RESIZES:
            raise choices("--data.resize", self.resize, RESIZES)
        if self.color is not None and self.color not in COLORS:
            raise choices("--data.color", self.color, COLORS)
        if self.image_size is not None:
            rule = "HEIGHTxWIDTH in pixels, or one number for both (64, 48x64)"
            found = re.fullmatch(r"0*([1-9][0-9]{0,4})(?:[xX]0*([1-9][0-9]{0,4}))?", self.image_size, re.ASCII)
            check("--data.image_size", self.image_size, rule, found is not None)
            height, width = found.groups() if found else ("", "")
            object.__setattr__(self, "image_size", height if width in (None, height) else f"{height}x{width}")
        elif self.resize != "fit":
            raise InputError(f"--data.resize={self.resize}: says how images are resized; add --data.image_size")

    @property
    def time_column(self) -> str | None:
        """The column that a split by time is by."""
        return self.split.removeprefix("time:") if self.split and self.split.startswith("time:") else None
