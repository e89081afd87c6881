"""What people give to fit, evaluate and predict, as rows of jaxnn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.errors import InputError
from jaxnn.keras import losses
from jaxnn.keras.tensors import one_or_all
from jaxnn.types import Batch

Shape = tuple[int, ...]
CROSS_ENTROPIES = (losses.CategoricalCrossentropy, losses.SparseCategoricalCrossentropy, losses.BinaryCrossentropy)
LIKE_THE_OUTPUTS = (  # losses whose labels have one number for each output
    *(losses.MeanSquaredError, losses.MeanAbsoluteError, losses.BinaryCrossentropy, losses.Huber, losses.Poisson),
)


class Labels(NamedTuple):
    """The `y` of a batch whose rows weigh differently in the loss: `weight f32[B]`. That of the batch marks padding."""

    y: Any
    weight: Any


class Given(NamedTuple):
    """What a model is to take and to give: shapes of an example by the names of inputs, of the outputs, its loss."""

    inputs: dict[str, Shape]
    output: Shape
    loss: losses.Loss
    classes: tuple[str, ...] | None = None  # of labels that are texts


def is_batches(x: Any) -> bool:
    """Whether x gives batch after batch, and is no array."""
    if isinstance(x, list | tuple | dict | np.ndarray | jax.Array | str) or hasattr(x, "__array__"):
        return False
    return hasattr(x, "__iter__") or hasattr(x, "__next__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


def plain(name: str, value: Any) -> np.ndarray:
    """An array of numbers or texts. Raises `InputError` for what is none."""
    try:
        array = np.asarray(value)
    except ValueError:
        shapes = [np.shape(row) for row in value]
        i = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), 0)
        rule = f"must be an array, every row like the first, {shapes[0]}; make them alike"
        raise InputError(f"{name}[{i}]={shapes[i]}: {rule}") from None
    if array.dtype == object and array.size:  # columns of several types
        kinds = {str: str, (bool, int, float, np.number, np.bool_): np.float64}
        found = (to for kind, to in kinds.items() if all(isinstance(each, kind) for each in array.flat))
        array = array.astype(next(found, object))
    if array.dtype.kind not in "biufU":
        raise InputError(
            f"{name}=array of {array.dtype}: must be numbers; convert it, for a table to one column a feature"
        )
    return array


def inputs(x: Any, shapes: dict[str, Shape] | None) -> Any:
    """x as the network takes it: an array, or a tuple of them for several inputs; uint8 stays, the rest is float32.

    Raises `InputError` for what does not fit the shapes (None: any), for NaN and infinities, and for no rows.
    """
    if x is None:
        raise InputError("x=None: must be arrays, or batches; give fit(x, y)")
    names = list(shapes) if shapes else ["x"]
    if isinstance(x, Mapping):
        if shapes is None or set(x) != set(names):
            raise InputError(f"x={sorted(x)}: must have the inputs {', '.join(names)}; name them so")
        parts = [x[name] for name in names]
    elif len(names) > 1:
        if not isinstance(x, list | tuple) or len(x) != len(names):
            given = f"{len(x)} arrays" if isinstance(x, list | tuple) else type(x).__name__
            raise InputError(
                f"x={given}: the model has the inputs {', '.join(names)}; give a list of {len(names)} arrays"
            )
        parts = list(x)
    else:
        listed = isinstance(x, list | tuple) and len(x) == 1 and hasattr(x[0], "shape")
        parts = [x[0] if listed and np.ndim(x[0]) >= _rank(shapes) else x]
    found = [
        _floats(name, plain(name, part), shapes[name] if shapes else None)
        for name, part in zip(names, parts, strict=True)
    ]
    if len({len(each) for each in found}) > 1:
        raise InputError(f"x={[len(each) for each in found]} rows: all inputs must have as many; cut them alike")
    return one_or_all(found)


def _rank(shapes: dict[str, Shape] | None) -> int:
    return len(next(iter(shapes.values()))) + 1 if shapes else 2


def _floats(name: str, x: np.ndarray, shape: Shape | None) -> np.ndarray:
    if x.dtype.kind == "U":
        raise InputError(f"{name}={x.flat[0]!r}: is a text, and must be a number; encode it first")
    if not x.ndim or not len(x):
        raise InputError(f"{name}.shape={x.shape}: has no rows; give at least one example")
    if shape is not None and x.shape[1:] != shape:
        if x.shape[1:] == shape[:-1] and shape[-1] == 1:
            x = x[..., None]
        elif x.shape[1:] == (*shape, 1):
            x = x[..., 0]
        else:
            need = ", ".join(map(str, ("n", *shape)))
            raise InputError(f"{name}.shape={x.shape}: must be ({need}), as the model was built; reshape it")
    if x.dtype != np.uint8:
        x = x.astype(np.float32, copy=False)
        _check_finite(name, x)
    return x


def _check_finite(name: str, x: np.ndarray) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        total = x.sum()  # one fast pass; the place is looked for only where this is not finite
    if not np.isfinite(total):
        bad = np.argwhere(~np.isfinite(x))
        if len(bad):
            where = bad[0].tolist()
            raise InputError(f"{name}{where}={x[tuple(bad[0])]}: must be finite; drop the row, or fill it")


def labels(y: Any, given: Given) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """y as the loss takes it, and the classes that texts stand for.

    Raises `InputError` for labels that do not fit the loss and the outputs.
    """
    loss, shape, classes = given.loss, given.output, given.classes
    y = plain("y", y)
    if y.dtype.kind == "U":
        y, classes = _encoded(y, given)
    if y.dtype.kind == "f" or y.dtype.kind == "b":
        y = y.astype(np.float32)
        _check_finite("y", y)
    if isinstance(loss, losses.SparseCategoricalCrossentropy):
        return _class_numbers(y, shape), classes
    if isinstance(loss, losses.CategoricalCrossentropy) and y.shape[1:] != shape:
        rule = f"{loss.name} needs one-hot labels ({', '.join(map(str, ('n', *shape)))})"
        cure = f"use keras.utils.to_categorical(y, {shape[-1]}), or loss='sparse_categorical_crossentropy'"
        raise InputError(f"y.shape={y.shape}: {rule}; {cure}")
    if y.shape[1:] != shape and y.shape[1:] == shape[:-1] and shape[-1:] == (1,):
        y = y[..., None]
    elif y.shape[1:] == (*shape, 1):
        y = y[..., 0]
    if isinstance(loss, LIKE_THE_OUTPUTS) and y.shape[1:] != shape:
        need = ", ".join(map(str, ("n", *shape)))
        rule = f"must be ({need}), as the last layer gives"
        raise InputError(f"y.shape={y.shape}: {rule}; change its units, or the labels")
    if isinstance(loss, losses.BinaryCrossentropy) and y.size and not (0 <= y.min() and y.max() <= 1):
        rule = f"{loss.name} needs 0 and 1, or what lies between; encode them so"
        raise InputError(f"y={y.min():g} to {y.max():g}: {rule}")
    if isinstance(loss, losses.CategoricalCrossentropy) and y.size and y.min() < 0:
        raise InputError(f"y={y.min():g}: a probability is 0 or more; see keras.utils.to_categorical")
    return y.astype(np.float32, copy=False), classes


def _encoded(y: np.ndarray, given: Given) -> tuple[np.ndarray, tuple[str, ...]]:
    """The number of each text among the classes, in their alphabetical order unless they are known."""
    y = y.reshape(len(y), -1)[:, 0] if y.ndim > 1 and y.size == len(y) else y
    if y.ndim > 1 or not isinstance(given.loss, CROSS_ENTROPIES):
        raise InputError(f"y={y.flat[0]!r}: is a text; {given.loss.name} needs numbers")
    classes = given.classes or tuple(np.unique(y).tolist())
    places = {name: i for i, name in enumerate(classes)}
    if alien := sorted(set(y.tolist()) - set(places)):
        raise InputError(f"y={alien[0]!r}: no example of training had this label; known are {', '.join(classes)}")
    numbers = np.array([places[name] for name in y.tolist()], np.int32)
    if isinstance(given.loss, losses.CategoricalCrossentropy):
        return np.eye(max(given.output[-1], len(classes)), dtype=np.float32)[numbers], classes
    return numbers, classes


def _class_numbers(y: np.ndarray, shape: Shape) -> np.ndarray:
    if y.shape[1:] == (*shape[:-1], 1):
        y = y[..., 0]
    if y.shape[1:] != shape[:-1]:
        hint = '; for one-hot labels use loss="categorical_crossentropy"' if y.shape[1:] == shape else ""
        rule = f"sparse_categorical_crossentropy needs a class number for each of the {shape[-1]} outputs' rows"
        raise InputError(f"y.shape={y.shape}: {rule}, ({', '.join(map(str, ('n', *shape[:-1])))}){hint}")
    numbers = y.astype(np.int32, copy=False)
    if y.dtype.kind == "f" and not (numbers == y).all():
        raise InputError(
            f"y={y[numbers != y].flat[0]:g}: must be a class number, 0 to {shape[-1] - 1}; round or encode it"
        )
    if numbers.size and not (0 <= numbers.min() and numbers.max() < shape[-1]):
        wrong = numbers.min() if numbers.min() < 0 else numbers.max()
        cure = f"number the classes from 0, or give the last layer {numbers.max() + 1} units"
        raise InputError(f"y={wrong}: must be a class number, 0 to {shape[-1] - 1}; {cure}")
    return numbers


def weights(y: np.ndarray, n: int, sample_weight: Any, class_weight: Any) -> np.ndarray | None:
    """What each row weighs in the loss, f32[n]; None where all weigh the same."""
    if sample_weight is None and class_weight is None:
        return None
    weight = (
        np.ones(n, np.float32) if sample_weight is None else plain("sample_weight", sample_weight).astype(np.float32)
    )
    weight = weight[:, 0] if weight.shape == (n, 1) else weight
    if weight.shape != (n,):
        raise InputError(f"sample_weight.shape={weight.shape}: must be ({n},), one number a row")
    _check_finite("sample_weight", weight)
    if weight.min() < 0:
        raise InputError(f"sample_weight={weight.min():g}: must be 0 or more")
    if class_weight is not None:
        weight = weight * _of_classes(y, class_weight)
    return weight


def _of_classes(y: np.ndarray, class_weight: Any) -> np.ndarray:
    if not isinstance(class_weight, Mapping):
        raise InputError(f"class_weight={type(class_weight).__name__}: must be a dict, class number -> weight")
    if y.ndim > 2:
        rule = f"is for one label an example, and y has the shape {y.shape}"
        raise InputError(f"class_weight={dict(class_weight)}: {rule}; leave it out")
    if not all(isinstance(number, int | float | np.number) for number in class_weight):
        rule = "must be class numbers -> weights, texts are numbered in the order of the alphabet"
        raise InputError(f"class_weight={dict(class_weight)}: {rule}; number them")
    classes = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(len(y)).astype(int)
    numbers = np.array(sorted(map(int, class_weight)))
    missing = sorted(set(np.unique(classes).tolist()) - set(numbers.tolist()))
    if missing:
        raise InputError(f"class_weight={dict(class_weight)}: has no weight for class {missing[0]}; add it")
    values = {int(number): value for number, value in class_weight.items()}
    return np.array([values[number] for number in numbers], np.float32)[np.searchsorted(numbers, classes)]


def rows(x: Any, y: Any, given: Given, sample_weight: Any = None, class_weight: Any = None) -> tuple[Batch, Given]:
    """Examples with their labels; and `given` with the classes that texts stand for."""
    x = inputs(x, given.inputs)
    if y is None:
        raise InputError("y=None: the loss needs labels; give fit(x, y), or batches (x, y)")
    y, classes = labels(y, given)
    n = len(jax.tree.leaves(x)[0])
    if len(y) != n:
        raise InputError(f"x={n} rows, y={len(y)}: must be as many; Data cardinality is ambiguous")
    weight = weights(y, n, sample_weight, class_weight)
    return Batch(x, y if weight is None else Labels(y, weight), np.ones(n, np.float32)), given._replace(classes=classes)


def cut(data: Any, start: int, end: int | None = None) -> Any:
    """Rows of all arrays."""
    return jax.tree.map(lambda a: a[start:end], data)


def split_off(x: Any, y: Any, weight: Any, fraction: float) -> tuple[Sequence[Any], Sequence[Any]]:
    """The last rows as those that validate, as Keras takes them, before anything is shuffled."""
    if not isinstance(fraction, float | int) or not 0 < fraction < 1:
        raise InputError(f"validation_split={fraction}: must be in (0, 1)")
    if isinstance(x, list | tuple) and x and hasattr(x[0], "shape"):
        arrays: Any = [np.asarray(each) for each in x]
    else:
        arrays = {k: np.asarray(v) for k, v in x.items()} if isinstance(x, Mapping) else np.asarray(x)
    n = len(jax.tree.leaves(arrays)[0])
    first = int(n * (1 - fraction))
    if not 0 < first < n:
        raise InputError(f"validation_split={fraction}: leaves {first} of {n} rows to train on; choose another")
    both = (arrays, np.asarray(y), None if weight is None else np.asarray(weight))
    return cut(both, 0, first), cut(both, first)
