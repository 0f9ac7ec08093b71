"""What the authors of Boscia report of their instances: `boscia_runs.csv`.

Objective, termination, seconds and calls of the linear oracle of Boscia, SHOT, SCIP with outer
approximation, an Ipopt-based branch and bound and Pavito, for seeds 1 to 5, from the files of the
authors' suite (Hendrych, Troppens, Besançon, Pokutta, arXiv 2208.11010; MIT licence). The limit was
1800 s on their cluster. Seconds of Ipopt-BnB are milliseconds there, and seconds here.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

FILE = Path(__file__).with_name("boscia_runs.csv")

LIMIT_S = 1800.0

FINISHED = frozenset({"OPTIMAL", "Optimal", "LOCALLY_SOLVED", "ALMOST_LOCALLY_SOLVED"})
"""Terminations that say that the program was solved. SHOT's is the same when time runs out."""

TOLERANCE = {
    "Boscia": 1e-2,
    "SHOT": 1e-6,
    "SCIP-OA": 1e-6,
    "Ipopt-BnB": 1e-2,
    "Pavito": 1e-5,
}
"""Relative gap at which a solver ended in these runs, as the suite set it or by its default; of
SCIP-OA, which is run to gap 0, the tolerance of its constraints, and with it of its objective."""

_MILLISECONDS = frozenset({"Ipopt-BnB"})


@dataclass(frozen=True, slots=True)
class Reported:
    """One run. objective: NaN for none. calls: None where none were counted."""

    family: str
    seed: int
    size: str
    solver: str
    objective: float
    termination: str
    seconds: float
    calls: int | None

    @property
    def solved(self) -> bool:
        """Whether the run ended within LIMIT_S, claiming that its objective is the least."""
        in_time = self.seconds < LIMIT_S
        return in_time and self.termination in FINISHED and isfinite(self.objective)

    @property
    def tolerance(self) -> float:
        """The relative gap within which the claim is meant."""
        return TOLERANCE[self.solver]


def reported() -> Sequence[Reported]:
    """All runs of the file."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return [_run(row) for row in csv.DictReader(file)]


def _run(row: dict[str, str]) -> Reported:
    seconds = float(row["seconds"] or "nan")
    return Reported(
        row["family"],
        int(row["seed"]),
        row["size"],
        row["solver"],
        float(row["objective"] or "nan"),
        row["termination"],
        seconds / 1000.0 if row["solver"] in _MILLISECONDS else seconds,
        int(calls) if isfinite(calls := float(row["calls"] or "nan")) else None,
    )
