"""The arrays of a layer, one line each: all that copies, stores or cuts a layer goes by this table.

Layer files, memory that processes share, what is sent to a cluster, and blocks cut from a layer are
made of the fields here, so an array that is added to the table, and to `Layer`, is in all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskgap.instances import layer_checks
from maskgap.instances.errors import InputError
from maskgap.instances.layer_checks import Array, Given


class Axis(StrEnum):
    """What an axis of an array runs over."""

    ROWS = "d_out"
    COLUMNS = "d_in"


@dataclass(frozen=True, slots=True)
class LayerField:
    """One array. look: what validates it, and gives it the dtype here. optional: may be absent.

    seen: whether solvers see it. What is held out to judge them stays with those who judge.
    """

    name: str
    dtype: type[np.generic]
    axes: tuple[Axis, ...]
    look: Callable[[ArrayLike, str, Given], Array]
    optional: bool = True
    seen: bool = True

    @property
    def real(self) -> bool:
        """Whether it holds real numbers, which a file may store with less precision."""
        return issubclass(self.dtype, np.floating)

    def cut(self, array: Array, rows: Sequence[int], columns: Sequence[int]) -> Array:
        """The part of the array that belongs to some rows and columns, in their order."""
        chosen = {Axis.ROWS: rows, Axis.COLUMNS: columns}
        part: Array = array[np.ix_(*(chosen[axis] for axis in self.axes))]
        return part

    def nothing(self) -> NDArray[Any] | None:
        """What stands for the array in a layer that has none."""
        return None if self.optional else np.empty((0,) * len(self.axes), dtype=self.dtype)


_ROWS, _COLUMNS = Axis.ROWS, Axis.COLUMNS

LAYER_FIELDS = (
    LayerField("weight", np.float64, (_ROWS, _COLUMNS), layer_checks.weight, optional=False),
    LayerField("gram", np.float64, (_COLUMNS, _COLUMNS), layer_checks.gram, optional=False),
    LayerField("gram_eval", np.float64, (_COLUMNS, _COLUMNS), layer_checks.gram, seen=False),
    LayerField("input_mean", np.float64, (_COLUMNS,), layer_checks.mean),
    LayerField("column_cost", np.int64, (_COLUMNS,), layer_checks.costs),
    LayerField("forced", np.int8, (_ROWS, _COLUMNS), layer_checks.forced),
)
"""In the order in which they are looked at: a look may rest on those before it."""


def validated(
    arrays: Mapping[str, ArrayLike | None], meta: Mapping[str, str], name: str
) -> dict[str, Array | None]:
    """All arrays of a layer by name, each looked at; None for those that are absent.

    arrays: of any real dtype, by name; others are not looked at. name: of the layer, for errors.
    Raises InputError.
    """
    found: dict[str, Array | None] = {}
    for field in LAYER_FIELDS:
        values = arrays.get(field.name)
        if values is not None:
            found[field.name] = field.look(values, field.name, Given(name, meta, found))
        elif field.optional:
            found[field.name] = None
        else:
            raise InputError(f"{name}: {field.name} is missing")
    return found
