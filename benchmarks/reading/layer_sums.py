"""Sums over the layers of a type: what mask choice gains on whole layers, in the paper's manner.

The layers of a type (`attention.self.query`, ...) under one pattern are summed, so that rows of
much error weigh as much as they do in the model:

    reduction = 1 - sum of errors / sum of the errors of Wanda's masks    (arXiv 2512.10922)

Both sums run over the same layers: those where the contender and Wanda have masks for all rows; how
many these are of how many there are is part of the answer. From the traces of runs that count swaps
come the same sums after T swaps a row at most, and after t seconds of a layer's run.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from maskgap.benchmarks.reading.contest import Contest, Entry
from maskgap.benchmarks.runs.record import Record

ALL = "all"
"""The layer type that stands for all layers."""


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """A contender on the layers of a type under a pattern.

    entries: with their Wanda records, where both have masks. layers: how many there are.
    """

    contender: str
    pattern: str
    layer_type: str
    entries: tuple[tuple[Entry, Record], ...]
    layers: int

    @property
    def rows(self) -> int:
        """Rows summed."""
        return sum(entry.record.rows for entry, _ in self.entries)

    @property
    def reduction(self) -> float | None:
        """The share by which the error is less than Wanda's."""
        return self._less([entry.record.objective for entry, _ in self.entries])

    @property
    def reduction_eval(self) -> float | None:
        """The same on held-out data; None where a layer has none."""
        own = [entry.record.objective_eval for entry, _ in self.entries]
        return self._less(own, [wanda.objective_eval for _, wanda in self.entries])

    @property
    def start(self) -> str:
        """The score whose mask the runs start from; empty for solvers without a warm start."""
        named = {str(e.record.settings.get("warm_start", "")) for e, _ in self.entries}
        return " ".join(sorted(named))

    @property
    def cut_off(self) -> bool:
        """Whether the limit ended a run before it was done."""
        return any(entry.record.stop in ("time", "interrupted") for entry, _ in self.entries)

    @property
    def seconds(self) -> float:
        """Build and solve, summed over layers."""
        return sum(entry.seconds for entry, _ in self.entries)

    @property
    def swaps_a_row(self) -> float | None:
        """Mean number of swaps of a row, None where a run counted none."""
        counts = [entry.record.counters.get("swaps") for entry, _ in self.entries]
        known = [count for count in counts if count is not None]
        return sum(known) / self.rows if known and len(known) == len(counts) else None

    @property
    def most_swaps(self) -> int | None:
        """The most swaps that any row took, None where a run does not tell losses by swaps."""
        ends = [entry.record.by_swaps[-1][0] for entry, _ in self.entries if entry.record.by_swaps]
        return max(ends) if ends and len(ends) == len(self.entries) else None

    def reduction_after(self, swaps: int) -> float | None:
        """The reduction after so many swaps a row at most."""
        if self.most_swaps is None:
            return None
        return self._less([_last(entry.record.by_swaps, swaps) for entry, _ in self.entries])

    def moments(self) -> list[float]:
        """The seconds at which some layer's error changes."""
        return sorted({seconds for entry, _ in self.entries for seconds, _ in _over_time(entry)})

    def reduction_at(self, seconds: float) -> float | None:
        """The reduction after so many seconds of each layer's run, None before the first mask."""
        known = [_over_time(entry) for entry, _ in self.entries]
        if any(steps[0][0] > seconds for steps in known):
            return None
        return self._less([_last(steps, seconds) for steps in known])

    def _less(
        self, own: Sequence[float | None], wanda: Sequence[float | None] | None = None
    ) -> float | None:
        base = [w.objective for _, w in self.entries] if wanda is None else wanda
        mine = [value for value in own if value is not None]
        theirs = [value for value in base if value is not None]
        if not own or len(mine) < len(own) or len(theirs) < len(own) or sum(theirs) <= 0:
            return None
        return 1.0 - sum(mine) / sum(theirs)


def _over_time(entry: Entry) -> list[tuple[float, float]]:
    """(seconds, error) of a run, the warm-up that comes first left out as in other times."""
    record = entry.record
    told = [(max(0.0, s - record.warmup_s), v) for s, v, _ in record.trace if v is not None]
    return told or [(entry.seconds, record.objective or 0.0)]


def _last(steps: Sequence[tuple[float, float]], at: float) -> float:
    """The value of the last step at or before `at`; that of the first where all are later."""
    return steps[max(0, bisect_right(steps, at, key=lambda step: step[0]) - 1)][1]


def of_layers(contest: Contest) -> bool:
    """Whether a contest's records are sums over layers that Wanda has masks for."""
    return contest.unit == "layers" and bool(contest.reference)


def patterns(contest: Contest) -> list[str]:
    """The patterns of a contest in the order of its records."""
    return list(dict.fromkeys(e.record.pattern for e in contest.entries))


def layer_types(contest: Contest) -> list[str]:
    """The layer types of a contest in the order of its records."""
    return list(dict.fromkeys(e.record.layer_type for e in contest.entries))


def sums(contest: Contest, pattern: str) -> Iterator[Sum]:
    """For each contender its sum over all layers, and over those of each type."""
    first = {e.record.problem: e.record for e in reversed(contest.entries)}
    problems = [p for p in contest.problems if first[p].pattern == pattern]
    for contender in contest.contenders:
        for layer_type in (ALL, *layer_types(contest)):
            mine = [p for p in problems if layer_type in (ALL, first[p].layer_type)]
            pairs = ((contest.chosen.get((contender, p)), contest.reference.get(p)) for p in mine)
            yield Sum(
                contender,
                pattern,
                layer_type,
                tuple(
                    (entry, wanda)
                    for entry, wanda in pairs
                    if entry is not None and entry.objective is not None and wanda is not None
                ),
                len(mine),
            )
