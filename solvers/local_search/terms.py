"""What a search of masks begins with, what it may use, and whom it tells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maskgap.instances.arrays import Kept


def _never() -> bool:
    return False


def _nobody(mask: Kept, loss: float) -> None:
    pass


@dataclass(frozen=True, eq=False, slots=True)
class Terms:
    """The terms of one search.

    start: a legal mask (n,), True = kept, or None for one that the search finds itself. seed: whole
    numbers. population: members of the last stage; 1 is a descent alone. max_moves: in all, -1 for
    no limit. expired: asked every few milliseconds whether to end. report: called with each better
    mask and its loss. Where `expired` stays False, what is found depends on the others alone.
    """

    start: Kept | None
    seed: Sequence[int]
    population: int
    max_moves: int = -1
    expired: Callable[[], bool] = _never
    report: Callable[[Kept, float], None] = _nobody
