"""What the page says in plain words: verdicts, why runs end, who stands behind a bound, figures.

Nothing here is measured. The definitions of the numbers are those of
`benchmarks.verify.certificate` and `benchmarks.reading.statistics`, said again for someone who did
not run the suite.
"""

GLOSSARY: dict[str, str] = {
    "layer, row, column": "A layer of a neural network multiplies its inputs by a table of "
    "weights. Each row of the table makes one output; each column belongs to one input. A problem "
    "here is one row of one layer, or a whole layer where the page says so.",
    "pruning, mask": "Pruning sets weights to zero. The mask says which: kept or pruned, one "
    "choice a weight.",
    "pattern": "Which masks are allowed. 50% prunes half of each row; 2:4 keeps two of every four "
    "neighbouring columns, which hardware can use; keep=K keeps K weights of each row.",
    "error (objective)": "How much the row's output changes when the pruned weights are gone: the "
    "squared difference, summed over a sample of real inputs. Smaller is better. It is always "
    "recomputed from the mask; what the solver says about it counts for nothing.",
    "refit, ridge": "Where a group says refit, the weights that stay may change as well: the error "
    "is the least that any choice of them leaves. The ridge is a small penalty on how far they "
    "move, a share of the mean square of the inputs. Solvers that do not know of it are judged by "
    "their masks, with the best weights for those.",
    "held out": "The same mask's error on other inputs, which no solver has seen.",
    "bound": "A number below which no allowed mask's error can lie.",
    "checked": "The bound came with a proof, and a checker that shares no code with the solvers "
    "derived the bound again from that proof.",
    "claimed": "The solver says that the bound holds, and nobody has checked it. Masks of other "
    "solvers can refute a claim; they cannot confirm it.",
    "trivial": "No bound but zero, which holds for every mask and says nothing.",
    "gap": "How far a mask can be from the best one: (error - bound) / error. 0 % means that no "
    "mask is better; 10 % means that no mask has an error lower by more than a tenth. The best "
    "mask may well be the one at hand: a gap is what is not known, not what is lost.",
    "own gap": "The gap by the bound of the solver itself. A c beside it: that bound is claimed. "
    "For solvers that only give bounds: the distance from the bound to the least error known.",
    "certified gap": "The gap by the best checked bound of any solver of this run: what is certain "
    "about a mask whoever found it. Without a mask or a checked bound it counts as 100 %.",
    "proved": "The mask has the least error possible: a checked bound meets its error.",
    "closed": "The solver claims that its mask has the least error possible. Nobody has checked.",
    "feasible": "An allowed mask, the best possible or not.",
    "empty": "The run ended without a mask. Solvers that only give bounds have none to give.",
    "wrong": "Something the run said was refuted: its mask is not allowed, or its bound lies above "
    "the error of a mask that exists. Nothing this run says enters any other number here.",
    "crashed": "The run broke off with a fault.",
    "refused": "The solver said at once that it does not take this problem, or is not installed.",
    "no mask, no bound": "The run ended before it had either, mostly at its time limit; one that "
    "overruns its limit is killed.",
    "not run": "Other solvers of the group have a run on this problem, and this one has not.",
    "error / wanda": "The mask's error over that of Wanda, a common rule that prunes the smallest "
    "weight times input norm. 0.8 means an error a fifth lower. Over several rows: the geometric "
    "mean.",
    "correct rate": "Of the runs that claim to have the best mask, those that no better mask "
    "refutes.",
    "time": "Building the model and solving, in seconds, without warming up and checking. Over "
    "several rows: a geometric mean (shifted by 0.1 s) in which a row that was not solved counts "
    "at its limit.",
    "trace": "What a run had found after how many seconds, by its own account, but never better "
    "than what the certificate found at its end.",
}  # fmt: skip

VERDICTS = {
    "proved": "best possible, checked",
    "closed": "best possible, by the solver's word alone",
    "feasible": "an allowed mask",
    "bound": "a bound, from solvers that give no mask",
    "no mask": "ended without a mask",
    "refused": "not taken, or not installed",
    "not run": "missing",
    "crashed": "broke off",
    "wrong": "refuted",
    "empty": "no mask from any solver",
}
"""Outcomes of runs and of problems, the good ones first."""

STOPS = {
    "finished": "done",
    "gap": "gap closed",
    "time": "time limit",
    "nodes": "node limit",
    "iterations": "iteration limit",
    "memory": "memory limit",
    "interrupted": "interrupted",
    "refused": "refused",
    "crashed": "crashed",
}
"""Why a run ended (`solvers.protocol.Stop`)."""

FIGURES: dict[str, tuple[str, str]] = {
    "error": (
        "Error of each mask over Wanda's",
        "One mark a problem, a bar at the median. Below 1 is better than Wanda's mask on the same "
        "problem. Filled marks: on the inputs that the solvers worked with; hollow ones: on held "
        "out inputs. Grey lanes hold what has no such number: failures, and errors of zero.",
    ),
    "gap": (
        "Gap of each mask",
        "Filled marks: how far the mask can be from the best possible, by the best checked bound "
        "of any solver. Hollow marks: the gap by the solver's own bound, a square where that is "
        "checked, a diamond where it is only claimed. Lower is better; a bar marks the median.",
    ),
    "profile": (
        "How many rows were settled, and when",
        "The height of a curve is the share of rows that the solver had closed or proved (left), "
        "or had within 1 % by its own bound (right), after so many seconds.",
    ),
    "anytime": (
        "How good masks and bounds were at each moment",
        "Left: how far the best mask so far was from the best known. Right: how far the solver's "
        "own bound so far was from it. Lower, and sooner, is better.",
    ),
    "growth": (
        "How effort grows with the number of columns",
        "Time to solve a row, and nodes of the search where there is one. Hollow marks were cut "
        "off at the limit and would have taken longer.",
    ),
    "choices": (
        "What a solver's settings gain",
        "Each choice of settings beside the base, the first line. Left of 1 is better than the "
        "base; hollow marks were cut off, and their true place is further right. Where the base "
        "left most rows unsolved: seconds until the runs ended, and the gap that was left.",
    ),
    "swaps": (
        "Error of whole layers against swaps",
        "The error of a layer's masks over that of Wanda's, after so many swaps a row at most.",
    ),
    "swap-time": (
        "Error of whole layers against time",
        "The same against the seconds of a layer's run.",
    ),
}
"""Heading, and how to read it, for each figure of `benchmarks.reading.figures.plots`."""
