"""The hull of the masks against the relaxation of their rows, by pattern, in one table.

Of each part, with L the least error that any run found: the *root gap* (L - b) / L of the bound b
before branching, over the hull of the masks (through an oracle that returns masks) and over the
linear relaxation of their rows; then the time until the branch and bound over either, and each
native solver, ended with the optimum by its own bound. Below it, what transposable masks cost:
their error over the least one of masks whose rows are free.
"""

from collections.abc import Callable, Sequence
from math import fsum
from statistics import fmean

from maskgap.benchmarks.reading.statistics import shifted_geometric_mean
from maskgap.benchmarks.reading.typeset import markdown, number, percent, seconds
from maskgap.benchmarks.runs.record import Record
from maskgap.benchmarks.verify.certificate import Verdict, gap_of

NATIVE = ("scip-miqp", "scip-factor", "highs-milp", "highs-oa")
ALONE = "the same blocks, rows alone"
TRANSPOSABLE = "transposable"

LEGEND = (
    "root gap: mean of (least error known - bound) / least error known before branching, over the "
    "hull of the masks and over the linear relaxation of their rows",
    "the other columns: shifted geometric mean (0.1 s) of build + solve over the parts, those not "
    "solved at their limit, and how many were solved; the native solvers' word is not checked",
    "checked: optima of fw-bnb over the hull that the independent checker derived again",
)

Choice = Callable[[Record], bool]


def _fw(hull: str, root: bool) -> Choice:
    """Records of the branch and bound over a hull, to the end or at its root alone."""
    return lambda record: (
        record.solver == "fw-bnb"
        and record.settings.get("hull") == hull
        and (record.settings.get("max_nodes") == 1) is root
    )


def _named(solver: str) -> Choice:
    return lambda record: record.solver == solver


def render_coupled(records: Sequence[Record]) -> str:
    """The tables of cross-checked records in Markdown."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.group, []).append(record)
    least = _least(records)
    lines = [_line(name, own, least) for name, own in groups.items() if ALONE not in name]
    text = [markdown(lines), "\n".join(f"* {line}" for line in LEGEND)]
    costs = [
        _cost(name, own, groups[other])
        for name, own in groups.items()
        if name.startswith(TRANSPOSABLE)
        for other in groups
        if ALONE in other and other.rpartition(", ")[2] == name.rpartition(", ")[2]
    ]
    return "\n\n".join([*text, markdown(costs)] if costs else text)


def _least(records: Sequence[Record]) -> dict[str, float]:
    """The least error known of each problem."""
    least: dict[str, float] = {}
    for record in records:
        if record.objective is not None and record.verdict != Verdict.WRONG:
            least[record.problem] = min(record.objective, least.get(record.problem, float("inf")))
    return least


def _line(name: str, records: Sequence[Record], least: dict[str, float]) -> dict[str, str]:
    problems = dict.fromkeys(record.problem for record in records)
    sizes = sorted({record.n for record in records})
    hull, relaxed = (_fw(kind, root=False) for kind in ("convex", "relaxation"))
    proved = sum(hull(record) and record.verdict == Verdict.PROVED for record in records)
    return {
        "masks": name,
        "parts": str(len(problems)),
        "n": str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}",
        "root gap, hull": _root(records, _fw("convex", root=True), least),
        "relaxation": _root(records, _fw("relaxation", root=True), least),
        "fw-bnb, hull (s)": _time(records, hull),
        "fw-bnb, relaxation (s)": _time(records, relaxed),
        **{f"{solver} (s)": _time(records, _named(solver)) for solver in NATIVE},
        "checked": f"{proved} of {len(problems)}",
    }


def _root(records: Sequence[Record], choice: Choice, least: dict[str, float]) -> str:
    gaps = [gap_of(least.get(r.problem), r.bound) for r in records if choice(r)]
    known = [gap for gap in gaps if gap is not None]
    return percent(fmean(known)) if known else "-"


def _time(records: Sequence[Record], choice: Choice) -> str:
    own = [record for record in records if choice(record)]
    if not own or all(record.stop == "refused" for record in own):
        return "-"
    solved = [record.verdict in (Verdict.PROVED, Verdict.CLOSED) for record in own]
    spent = [
        record.build_s + record.solve_s if done else record.time_limit_s
        for record, done in zip(own, solved, strict=True)
    ]
    return f"{seconds(shifted_geometric_mean(spent))} ({sum(solved)} of {len(own)})"


def _cost(name: str, records: Sequence[Record], alone: Sequence[Record]) -> dict[str, str]:
    """Errors of transposable masks over the least error of masks whose rows are free."""
    free = fsum(_least(alone).values())

    first = min(record.seed for record in records)  # of randomised solvers, one run

    def ratio(choice: Choice) -> str:
        errors = [r.objective for r in records if choice(r) and r.seed == first]
        known = [error for error in errors if error is not None]
        return number(fsum(known) / free, 3) if len(known) == len(errors) and known else "-"

    return {
        "error over that of the best 2:4 masks": name,
        "wanda": ratio(_named("wanda")),
        "swap": ratio(_named("swap")),
        "search": ratio(_named("search")),
        "fw-bnb": ratio(_fw("convex", root=False)),
    }
