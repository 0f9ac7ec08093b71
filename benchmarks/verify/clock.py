"""The time that a check may take: asked for between pieces of work, refused when it ends."""

from dataclasses import dataclass, field
from math import inf
from time import perf_counter

from maskgap.instances.errors import ProofError


@dataclass(frozen=True, slots=True)
class Clock:
    """limit_s: seconds from now; infinite for no limit."""

    limit_s: float = inf
    begun: float = field(default_factory=perf_counter)

    def look(self, what: str) -> None:
        """Raise ProofError when the time is over; `what` says how far the work has come."""
        if perf_counter() - self.begun > self.limit_s:
            raise ProofError(f"not checked within {self.limit_s:g} s: {what}")
