"""About how long what is left of the table of `benchmarks.models.quality` takes.

    seconds of a cell = those of the masks of this model and method, under the pattern made last
                        + what the model's last cell took beside its masks

Methods differ a thousandfold, so a cell says nothing of those of another method: cells of methods
that were never timed are counted and not guessed. Times of a kept table count too, whatever it was
made with.
"""

from collections.abc import Iterable, Sequence

from maskgap.benchmarks.models.quality_page import Key, Row
from maskgap.instances.models.pace import clock


class CellPace:
    """Seconds of cells so far. rows: of the table that is there already."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._masks: dict[tuple[str, str], float] = {}
        self._beside: dict[str, float] = {}
        for row in rows:
            self._note(row)

    def took(self, row: Row, seconds: float) -> None:
        """Note a cell that was made. seconds: of all of it; its masks may have been there."""
        self._note(row)
        beside = seconds - float(row["seconds"])
        if beside > 0:
            self._beside[row["model"]] = beside

    def told(self, left: Sequence[Key]) -> str:
        """What is left, for people. left: the cells."""
        if not left:
            return "nothing is left"
        known = [
            self._masks[model, method] + self._beside.get(model, 0.0)
            for model, _, method, _ in left
            if (model, method) in self._masks
        ]
        parts = [f"{len(left)} left"]
        if known:
            parts.append(f"about {clock(sum(known))}")
        if len(known) < len(left):
            parts.append(f"{len(left) - len(known)} of them by methods not timed yet")
        return ", ".join(parts)

    def _note(self, row: Row) -> None:
        self._masks[row["model"], row["method"]] = float(row["seconds"])
