"""Which run lowers the total gap most per second, by what runs on other rows of the layer brought.

The width of a row is what its loss lies above its bound: the total gap is the sum of widths over
the sum of losses. For each pass of the ladder, from the runs that it had,

    share    = sum of the falls of widths / sum of widths before,
    seconds  = mean time of a run, checking included,

so a row of width v whose next pass is k falls by about v share_k / seconds_k a second. A pass that
brings nothing by itself may be what stands before one that does, so what counts is the best over
the next few passes taken in a row, of shares that multiply: 1 - (1 - share_k)(1 - share_k+1)... A
pass that no row has had yet is taken to bring half of what the one before it does in as long: it is
tried on the widest row when that would be the best run to make, and then known.
"""

from dataclasses import dataclass, field

AHEAD = 4
"""Passes that are looked at together."""

UNTRIED = 0.5
"""What share of the pass before it a pass is taken to bring until it is tried."""

LEAST_S = 1e-3
LEAST_SHARE = 1e-6
"""A pass that never brought anything is as good as this, so that there always is a best run."""


@dataclass(slots=True)
class _Runs:
    """What runs of a pass brought."""

    before: float = 0.0
    fall: float = 0.0
    seconds: float = 0.0
    count: int = 0


@dataclass(slots=True)
class Gains:
    """What passes bring, by their number in the ladder."""

    _known: dict[int, _Runs] = field(default_factory=dict)

    def note(self, number: int, before: float, after: float, seconds: float) -> None:
        """A run of a pass on a row: its width before and after; infinite without a mask."""
        own = self._known.setdefault(number, _Runs())
        own.seconds += seconds
        own.count += 1
        if before < float("inf"):
            own.before += before
            own.fall += max(0.0, before - after)

    def rate(self, number: int) -> float:
        """What share of its width a row loses a second if it goes on with a pass."""
        rest, seconds, best = 1.0, 0.0, 0.0
        for ahead in range(number, number + AHEAD):
            share, own = self._expected(ahead)
            rest *= 1.0 - share
            seconds += own
            best = max(best, (1.0 - rest) / seconds)
            if ahead not in self._known:
                break
        return best

    def _expected(self, number: int) -> tuple[float, float]:
        """Share and seconds of a pass, tried or not."""
        if number in self._known:
            own = self._known[number]
            share = own.fall / own.before if own.before > 0.0 else 0.0
            return max(share, LEAST_SHARE), max(own.seconds / own.count, LEAST_S)
        useful = [
            one for one in self._known if one < number and self._expected(one)[0] > LEAST_SHARE
        ]
        if not useful:
            return UNTRIED, 1.0
        share, seconds = self._expected(max(useful))
        return UNTRIED * share, seconds
