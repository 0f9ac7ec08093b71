"""What came of the audit, in tables: counted, refuted by most, and values below our bounds."""

from collections.abc import Sequence
from math import isfinite

from maskgap.benchmarks.reading.typeset import markdown, percent
from maskgap.benchmarks.reference.published.audit import Audited, Finding
from maskgap.instances.sources.published.reported import Reported

MOST = 10


def counted(audited: Sequence[Audited]) -> str:
    """Findings counted by family and solver."""
    keys = sorted({(a.claim.family, a.claim.solver) for a in audited})
    lines = []
    for family, solver in keys:
        own = [a for a in audited if (a.claim.family, a.claim.solver) == (family, solver)]
        line = {
            "family": f"`{family}`",
            "solver": solver,
            "tolerance": f"{own[0].claim.tolerance:g}",
            "claims": str(len(own)),
        }
        for kind in Finding:
            line[kind.value] = str(sum(a.finding is kind for a in own))
        lines.append(line)
    return markdown(lines)


def worst(audited: Sequence[Audited]) -> str:
    """The claims refuted by most."""
    most = sorted((a for a in audited if a.finding is Finding.REFUTED), key=lambda a: -a.excess)[
        :MOST
    ]
    lines = [
        {
            "claim": f"`{a.claim.family}` {a.claim.size}, seed {a.claim.seed}",
            "solver": a.claim.solver,
            "claimed": f"{a.claim.objective:.7g}",
            "better": f"{a.known.value:.7g}",
            "known from": a.known.whose,
            "worse by": percent(a.excess),
        }
        for a in most
    ]
    return markdown(lines) if lines else ""


def below(audited: Sequence[Audited], rows: Sequence[Reported]) -> str:
    """The claimed values that are furthest below our bounds, beside what others report of them."""
    found = [a for a in audited if a.finding is Finding.BELOW]
    lines = []
    for a in sorted(found, key=_lack)[:MOST]:
        case = _case(a.claim)
        others = [r for r in rows if _case(r) == case and r.solver != a.claim.solver]
        told = [f"{r.objective:.7g} ({r.solver})" for r in others if isfinite(r.objective)]
        lines.append({
            "claim": f"`{a.claim.family}` {a.claim.size}, seed {a.claim.seed}",
            "solver": a.claim.solver,
            "claimed": f"{a.claim.objective:.7g}",
            "our bound": f"{a.known.bound:.7g}",
            "best point known": f"{a.known.value:.7g}",
            "others report": ", ".join(told),
        })  # fmt: skip
    return markdown(lines) if lines else ""


def _lack(a: Audited) -> float:
    return (a.claim.objective - a.known.bound) / abs(a.claim.objective)


def _case(row: Reported) -> tuple[str, int, str]:
    return row.family, row.seed, row.size


def line(a: Audited) -> dict[str, str]:
    """A finding as a line of `audit.csv`."""
    return {
        "family": a.claim.family,
        "seed": str(a.claim.seed),
        "size": a.claim.size,
        "solver": a.claim.solver,
        "claimed": repr(a.claim.objective),
        "tolerance": f"{a.claim.tolerance:g}",
        "best_known": repr(a.known.value),
        "known_from": a.known.whose,
        "our_bound": repr(a.known.bound),
        "finding": a.finding.value,
    }
