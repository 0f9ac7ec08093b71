"""Types of arrays: numbers are float64, and what a boolean array says is its type.

A mask is boolean, True = kept: `Kept`. A pruned set is boolean, True = pruned, the z of the
mathematics: `Pruned`. A boolean array that is neither, such as a choice of columns, is `Flags`.
The type checker takes none for another and refuses `~` on the first two: `pruned_of` and
`kept_of` flip. When the code runs, all three are plain arrays and nothing is copied.
"""

from typing import TYPE_CHECKING, NewType, Self, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import deprecated

Flags = NDArray[np.bool_]
Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

if TYPE_CHECKING:
    # Not NewType: the flip of such an array would have the array's own type.
    class Kept(np.ndarray[tuple[int, ...], np.dtype[np.bool_]]):
        """Boolean of any shape, True = kept. `Kept(flags)` says so of a raw array."""

        @overload
        def __new__(cls, flags: "Kept") -> Self: ...
        @overload
        @deprecated("kept_of() flips what is pruned")
        def __new__(cls, flags: "Pruned") -> Self: ...
        @overload
        def __new__(cls, flags: Flags) -> Self: ...
        def __new__(cls, flags: Flags) -> Self:
            """The array itself, said to be so."""
            ...

        @deprecated("pruned_of() flips what is kept")
        def __invert__(self) -> Self: ...

    class Pruned(np.ndarray[tuple[int, ...], np.dtype[np.bool_]]):
        """Boolean of any shape, True = pruned. `Pruned(flags)` says so of a raw array."""

        @overload
        def __new__(cls, flags: "Pruned") -> Self: ...
        @overload
        @deprecated("pruned_of() flips what is kept")
        def __new__(cls, flags: Kept) -> Self: ...
        @overload
        def __new__(cls, flags: Flags) -> Self: ...
        def __new__(cls, flags: Flags) -> Self:
            """The array itself, said to be so."""
            ...

        @deprecated("kept_of() flips what is pruned")
        def __invert__(self) -> Self: ...

else:
    Kept = NewType("Kept", Flags)
    Pruned = NewType("Pruned", Flags)


def pruned_of(kept: Kept) -> Pruned:
    """True where `kept` is False, in its shape."""
    return Pruned(np.invert(kept))


def kept_of(pruned: Pruned) -> Kept:
    """True where `pruned` is False, in its shape."""
    return Kept(np.invert(pruned))
