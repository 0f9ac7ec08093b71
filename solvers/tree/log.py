"""The log of a search, on request: one line a second on standard output.

nodes done, nodes open, the incumbent's loss and the lower bound in the units of the scaled problem,
their gap as a share of the loss, and seconds since the search began.
"""

import sys
import time

INTERVAL_S = 1.0


def relative_gap(loss: float, bound: float) -> float:
    """(loss - bound) / loss; 0 where the loss is."""
    return (loss - bound) / loss if loss > 0.0 else 0.0


class TreeLog:
    """Prints a heading, then a line when the last is old enough."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        head = ("nodes", "open", "objective", "bound", "gap", "seconds")
        self._write("{:>10} {:>9} {:>14} {:>14} {:>9} {:>8}".format(*head))

    def _write(self, line: str) -> None:
        print(line, file=sys.stdout, flush=True)

    def line(self, nodes: int, opened: int, loss: float, bound: float) -> None:
        """Print the state of the search, at most once an interval and always at its end."""
        now = time.perf_counter()
        if now - self._last >= INTERVAL_S or opened == 0:
            self._last = now
            gap, seconds = relative_gap(loss, bound), now - self._start
            self._write(
                f"{nodes:>10} {opened:>9} {loss:>14.7g} {bound:>14.7g} {gap:>9.2%} {seconds:>8.1f}"
            )
