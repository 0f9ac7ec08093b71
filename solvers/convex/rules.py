"""When a search ends before its tree does, and how it chooses."""

from collections.abc import Callable
from dataclasses import dataclass

from maskgap.solvers.convex.result import Ended
from maskgap.solvers.kernels.cache import clock


@dataclass(frozen=True, slots=True)
class Rules:
    """What a search keeps to.

    end: on the clock of `kernels.cache.clock`. asked: why it is to end now, None if it is not.
    """

    end: float
    node_limit: float
    branching: str
    threads: int
    asked: Callable[[], Ended | None]

    def late(self) -> bool:
        """Whether time is up, or somebody asked for the end."""
        return clock() >= self.end or self.asked() is not None

    def stop(self, nodes: int) -> Ended | None:
        """Why a search that visited so many nodes is to end; None if it is not."""
        asked = self.asked()
        if asked is not None:
            return asked
        if clock() >= self.end:
            return Ended.TIME
        return Ended.NODES if nodes >= self.node_limit else None
