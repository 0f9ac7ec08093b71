"""Numbers that callers hand over, made float64 or whole, or one line that says what is wrong.

reals     an array of real numbers without NaN; infinite ones are left, where they mean no bound
finite    the same without infinite ones
number    one real number of at least so much
whole     one whole number of at least so much; 2.0 and True are none
"""

import operator
from math import inf, isfinite, isnan

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.conversion import as_array
from maskgap.instances.errors import InputError


def reals(what: str, given: object, dimensions: int | None = None) -> NDArray[np.float64]:
    """A new float64 array of so many dimensions (None: any). Raises InputError that begins `what`.

    Numbers beyond float64 become infinite.
    """
    with np.errstate(over="ignore"):
        array = np.array(as_array(given, what), dtype=np.float64)
    if dimensions is not None and array.ndim != dimensions:
        raise InputError(f"{what}: expected {dimensions} dimensions, not {array.ndim}")
    if np.isnan(array).any():
        raise InputError(f"{what}: a number is NaN")
    return array


def finite(what: str, given: object, dimensions: int | None = None) -> NDArray[np.float64]:
    """As `reals`, and finite."""
    array = reals(what, given, dimensions)
    if not np.isfinite(array).all():
        raise InputError(f"{what}: a number is not finite")
    return array


def number(what: str, given: object, least: float = -inf, *, endless: bool = False) -> float:
    """A number of `least` at least, infinite only if `endless`. Raises InputError."""
    array = as_array(given, what)
    value = float(array.item()) if array.ndim == 0 and array.dtype.kind != "b" else float("nan")
    if isnan(value) or value < least or not (endless or isfinite(value)):
        wanted = "a number" if least == -inf else f"a number from {least:g} on"
        raise InputError(f"{what}: expected {wanted}, not {_short(given)}")
    return value


def whole(what: str, given: object, least: int) -> int:
    """A whole number of `least` at least. Raises InputError."""
    try:
        value = None if isinstance(given, bool | np.bool_) else operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        value = None
    if value is None or value < least:
        raise InputError(f"{what}: expected a whole number from {least} on, not {_short(given)}")
    return value


def _short(given: object) -> str:
    """What was given, in one line of some words at most."""
    text = " ".join(repr(given).split())
    return text if len(text) <= 40 else f"{text[:37]}..."
