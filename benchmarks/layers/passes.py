"""The passes that bound the rows of a layer, by growing cost."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count, takewhile

from maskgap.instances.formats.proof import PartProof

SEARCHED_COLUMNS = 224
"""Rows up to here are often closed by the tree search in seconds."""

WIDE_COLUMNS = 480
"""Rows beyond here take a second each for a bound of their own, so all get a cheap one first."""

QUICK_COLUMNS = 700
"""Rows beyond here take minutes each for the interior-point method, so it comes late."""

INTERIOR_COLUMNS = 2048
"""Rows beyond here take too long for the interior-point method."""

SHIFTED_COLUMNS = 1200
"""Rows beyond here take seconds each for a bound of their own, so the shared shift is improved."""

REFIT_SEARCHED_COLUMNS = 160
"""The same under the objective refit."""

MOST_TRIANGLES = 14_000
"""Triangle inequalities of a row at most: a step of the interior-point method takes 1 GiB then."""

RAISING_WORK = 7e11
"""Nodes of a tree search that raises a bound, at first, times n³: half a minute."""

DISTINCT_PASSES = 12
"""Passes after which a ladder only repeats its last solver."""

MOST_PASSES = 64
"""Passes of an earlier call that are believed: nothing proves that there were so many."""


@dataclass(frozen=True)
class Pass:
    """A run of a solver on an open row.

    looks_for_masks: it gives no bound, so it is left out where a mask is given to be judged.
    takes_masks: it starts from the mask that the row has. takes_minorants: and from the function of
    its bound, where that has triangle inequalities. together: all open rows are one run,
    which costs little more than one of them; such passes come first.
    """

    solver: str
    settings: dict[str, object] = field(default_factory=dict)
    looks_for_masks: bool = False
    takes_masks: bool = False
    takes_minorants: bool = False
    together: bool = False


def ladder(n: int) -> Iterator[Pass]:
    """Passes over rows of n columns, cheapest first; without end, the last kind ever longer.

    None is limited in seconds, so what a pass gives does not depend on the machine. Wide rows all
    have a mask and a bound before anything is improved: masks by score, one shift of the Gram, and
    then swaps. What bounds rows by themselves first is the low-rank method; triangle inequalities
    go further by the interior-point method where that can be afforded: up to 700 columns before
    masks are searched for long, up to 2048 last. Beyond what a pass with triangle inequalities
    proves, rows up to 700 columns go by raising it in a tree search: at n = 384, half a minute of
    that lifts a bound by more than two minutes of further inequalities do.
    """
    swap = Pass("swap", looks_for_masks=True, takes_masks=True, together=True)
    wide = n > WIDE_COLUMNS
    if wide:
        yield replace(swap, settings={"max_swaps": 0})
        quick: dict[str, object] = {"shift": "eig", "iterations": 8}
        yield Pass("shift-bound", quick, takes_masks=True, together=True)
    yield swap
    if n > SHIFTED_COLUMNS:
        yield Pass("shift-bound", {"iterations": 30}, takes_masks=True, together=True)
    if n <= SEARCHED_COLUMNS:
        yield Pass("search", {"population": 32}, looks_for_masks=True, takes_masks=True)
        for attempt in count():
            yield Pass("fw-bnb", {"max_nodes": 20_000 * 4**attempt}, takes_masks=True)
    more = Pass("search", {"population": 32}, looks_for_masks=True, takes_masks=True)
    yield replace(more, settings={"population": 8}) if wide else more
    yield Pass("lowrank-bound", takes_masks=True)
    if n <= QUICK_COLUMNS:
        yield interior_point(n, 1)
        if wide:
            yield more
    else:
        yield more
        yield low_rank(n, 1)
    yield replace(more, settings={"population": 128})
    if n <= QUICK_COLUMNS:
        yield from (raising(n, attempt) for attempt in count())
    elif n <= INTERIOR_COLUMNS:
        yield from (interior_point(n, attempt) for attempt in count(1))
    else:
        yield from (low_rank(n, attempt) for attempt in count(2))


def interior_point(n: int, attempt: int) -> Pass:
    """Triangle inequalities by the interior-point method, ever more and of ever less violation.

    Twice as many take five times as long.
    """
    triangles: dict[str, object] = {
        "triangle_rounds": 9 * (attempt + 1),
        "triangle_batch": max(400, n - 400) if attempt == 1 else max(600, n),
        "triangle_most": min(max(5000, 17 * n // 2) << (attempt - 1), MOST_TRIANGLES),
        "triangle_least": 0.05 / attempt,
        "triangle_inactive": 0.05,
        "triangle_tolerance": 1e-2 / attempt,
    }
    return Pass("sdp-bound", triangles)


def raising(n: int, attempt: int) -> Pass:
    """A tree search that raises the bound of the function that proves it.

    Half a percent of the loss takes some three times as many nodes as the half before, and still
    less time than a relaxation with more inequalities does, which is made where there is no such
    function.
    """
    settings: dict[str, object] = {
        "reoptimise": "on", "relaxations": 1, "root_triangles": min(17 * n, MOST_TRIANGLES),
        "max_nodes": int(RAISING_WORK / n**3) * 4**attempt,
    }  # fmt: skip
    return Pass("fw-bnb", settings, takes_masks=True, takes_minorants=True)


def low_rank(n: int, attempt: int) -> Pass:
    """The same by the low-rank method, which is quicker up to some rounds and goes less far."""
    triangles: dict[str, object] = {
        "triangle_rounds": 10 * attempt,
        "triangle_batch": max(1000, 2 * n) * attempt,
        "triangle_least": 0.05 / attempt,
    }
    return Pass("lowrank-bound", triangles, takes_masks=True)


def refit_ladder(n: int) -> Iterator[Pass]:
    """The same under the objective refit.

    Every node of the tree search has a relaxation of its own, so a few nodes are worth a pass; the
    root alone is what a wide row gets at first.
    """
    wide = n > REFIT_SEARCHED_COLUMNS
    yield Pass("swap", looks_for_masks=True, takes_masks=True, together=True)
    yield Pass("search", {"population": 8 if wide else 16}, looks_for_masks=True, takes_masks=True)
    if wide:
        yield Pass("fw-bnb", {"max_nodes": 1}, takes_masks=True)
        yield Pass("search", {"population": 64}, looks_for_masks=True, takes_masks=True)
    for attempt in count():
        nodes = (16 if wide else 500) * 4**attempt
        yield Pass("fw-bnb", {"max_nodes": nodes}, takes_masks=True)


def shared_ladder(n: int) -> Iterator[Pass]:
    """Passes over rows of n columns that share one budget.

    `swap` moves the budget between rows, after each search at fixed budgets. The semidefinite
    relaxation comes twice before triangle inequalities: first at the budgets of the mask, then
    where each row's curve is lowest. Wide rows have a bound before they are searched.
    """
    wide = n > WIDE_COLUMNS
    solver = "lowrank-bound" if wide else "sdp-bound"
    beside: dict[str, object] = {"beside": True}
    yield Pass("swap", looks_for_masks=True, takes_masks=True, together=True)
    if wide:
        yield Pass(solver, beside)
    yield Pass("search", {"population": 32}, looks_for_masks=True, takes_masks=True)
    yield Pass("swap", looks_for_masks=True, takes_masks=True, together=True)
    yield Pass(solver, beside)
    if not wide:
        yield Pass(solver, beside)
    for attempt in count(1):
        triangles: dict[str, object] = {
            "triangle_rounds": 12 * attempt, "triangle_least": 0.1 / attempt,
        }  # fmt: skip
        if not wide:
            triangles["triangle_most"] = 2500 * attempt
        for _ in range(2):
            yield Pass(solver, {**beside, **triangles})
        yield Pass("search", {"population": 64 * attempt}, looks_for_masks=True, takes_masks=True)
        yield Pass("swap", looks_for_masks=True, takes_masks=True, together=True)


def refit_shared_ladder() -> Iterator[Pass]:
    """The same under the objective refit: the root of the tree search, whose evidence is one leaf.

    Its minorant bounds a row under every budget, and is the best one where the multiplier of its
    budget is that of all rows: so each pass is worth another once budgets have moved.
    """
    yield Pass("swap", looks_for_masks=True, takes_masks=True, together=True)
    yield Pass("search", {"population": 8}, looks_for_masks=True, takes_masks=True)
    yield Pass("swap", looks_for_masks=True, takes_masks=True, together=True)
    root: dict[str, object] = {"max_nodes": 1, "fixing": False}
    for attempt in count(1):
        for _ in range(2):
            yield Pass("fw-bnb", root)
        yield Pass("search", {"population": 32 * attempt}, looks_for_masks=True, takes_masks=True)
        yield Pass("swap", looks_for_masks=True, takes_masks=True, together=True)


def believed(proof: PartProof, stages: Iterator[Pass]) -> int:
    """How many passes a row may have had by its proof: of those that bound, none without a bound.

    A file can say anything, and a row that had them all would never be worked on.
    """
    if proof.evidence.proves:
        return min(proof.passes, MOST_PASSES)
    searches = sum(1 for _ in takewhile(lambda stage: stage.looks_for_masks, stages))
    return min(proof.passes, searches if proof.mask is not None else 0)
