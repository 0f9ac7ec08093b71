"""Local search of any neighbourhood: one descent, then populations of local optima that recombine.

After a descent from the start come stages of 16, 32, ... members up to `population`, each begun
with the best mask so far. Members are local optima reached from masks that an oracle takes by
randomly scaled scores. A child of two members is what the oracle takes when columns count by how
many of the two prune them, ties broken at random; its descent takes the place of the parent that it
is nearer to if it is better (deterministic crowding, Mahfoud 1992). A stage has converged when many
children in a row changed nothing; its best mask then descends thoroughly.
"""

from collections.abc import Sequence

import numpy as np

from maskgap.instances.arrays import Pruned, kept_of, pruned_of
from maskgap.solvers.local_search.memetic.best import Found
from maskgap.solvers.local_search.memetic.improve import FIRST_STAGE
from maskgap.solvers.local_search.memetic.population import PATIENCE
from maskgap.solvers.local_search.neighbours.local import Local, Reached
from maskgap.solvers.local_search.terms import Terms

SPREAD = 1.0
"""Standard deviation of the logarithm by which scores are scaled for a member."""


def search(local: Local, terms: Terms, others: Sequence[Pruned] = ()) -> Found:
    """Search from a legal mask, or from the one of least scores; then from others (n,) too.

    As `local_search.memetic.improve.improve`; population 1 is one thorough descent.
    """
    run = _Search(local, terms)
    run.take(local.oracle(local.scores) if terms.start is None else pruned_of(terms.start))
    finished = run.polish()
    for other in others if finished else ():
        finished = finished and run.try_from(other)
    size = 1
    while finished and size < terms.population and not run.settled():
        size = min(max(FIRST_STAGE, 2 * size), terms.population)
        finished = run.stage(size, np.random.default_rng([*terms.seed, size]))
    return Found(kept_of(run.pruned), run.loss, run.moves, finished)


class _Search:
    """The best set so far, the moves made, and what limits them."""

    def __init__(self, local: Local, terms: Terms) -> None:
        self._local, self._terms = local, terms
        self.pruned = Pruned(np.zeros(0, dtype=bool))
        self.loss = np.inf
        self.moves = 0

    def take(self, pruned: Pruned, loss: float | None = None) -> None:
        """Take a pruned set if it is better."""
        value = self._local.loss(pruned) if loss is None else loss
        if value < self.loss:
            self.pruned, self.loss = pruned, value
            self._terms.report(kept_of(pruned), value)

    def settled(self) -> bool:
        """Whether the loss is zero to rounding."""
        return self.loss <= self._local.tolerance(self.pruned)

    def polish(self) -> bool:
        """Descend thoroughly from the best; whether no limit came first."""
        return self._descend(self.pruned, thorough=True).local

    def try_from(self, pruned: Pruned) -> bool:
        """Descend thoroughly from another set; whether no limit came first."""
        return self._descend(pruned, thorough=True).local

    def stage(self, size: int, random: np.random.Generator) -> bool:
        """A population that begins with the best; whether it converged."""
        members = [Reached(self.pruned, self.loss, 0, True)]
        for _ in range(size - 1):
            scores = self._local.scores * np.exp(SPREAD * random.normal(size=len(self.pruned)))
            found = self._descend(self._local.oracle(scores))
            if not found.local:
                return False
            if not self._known(found, members):
                members.append(found)
        idle = 0
        while len(members) > 1 and idle <= PATIENCE * len(members):
            idle += 1
            a, b = random.choice(len(members), 2, replace=False)
            one, other = members[a], members[b]
            votes = one.pruned.astype(np.float64) + other.pruned
            child = self._local.oracle(0.5 * random.random(len(votes)) - votes)
            if (child == one.pruned).all() or (child == other.pruned).all():
                continue
            found = self._descend(child)
            if not found.local:
                return False
            to_a, to_b = ((found.pruned != parent.pruned).sum() for parent in (one, other))
            place = int(a if to_a <= to_b else b)
            if found.loss < members[place].loss and not self._known(found, members):
                members[place] = found
                idle = 0
        return self.polish()

    def _known(self, found: Reached, members: Sequence[Reached]) -> bool:
        same = self._local.tolerance(found.pruned)
        return any(abs(found.loss - member.loss) <= same for member in members)

    def _descend(self, pruned: Pruned, thorough: bool = False) -> Reached:
        most = self._terms.max_moves
        left = -1 if most < 0 else most - self.moves
        found = self._local.descend(pruned, thorough, left, self._terms.expired)
        self.moves += found.moves
        self.take(found.pruned, found.loss)
        return found
