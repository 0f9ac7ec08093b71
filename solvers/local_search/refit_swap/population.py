"""Search of one row's masks by the refit loss: local optima that recombine, on the open columns.

First come descents by 1-swaps (`refit_swap.walker`) from the start, from backward elimination (the
order of ExactOBS), from forward selection and from the mask that a search by the mask loss finds;
then stages of 16, 32, ... members up to `population`. A stage begins with the best mask so far;
further members are descents from eliminations whose costs are scaled at random, and from random
masks. In a round two members at a time have a child (`refit_swap.recombine`), which descends on the
columns that are open, and takes the place of the parent it is nearer to if it is better. After many
children in a row without effect all members descend on all columns; while that betters the best,
there is another round. A search that was not cut short ends 1-swap optimal.

Memory is some n^2 numbers, and a descent a few ms at n = 384: a row takes seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Flags, Kept, Matrix, Vector
from maskgap.instances.masks.groups import BudgetGroups
from maskgap.solvers.local_search.memetic import improve as mask_loss
from maskgap.solvers.local_search.memetic.best import Found
from maskgap.solvers.local_search.memetic.improve import FIRST_STAGE
from maskgap.solvers.local_search.memetic.population import PATIENCE
from maskgap.solvers.local_search.refit_swap import walker as walkers
from maskgap.solvers.local_search.refit_swap.quadratic import Quadratic
from maskgap.solvers.local_search.refit_swap.recombine import open_columns, recombine
from maskgap.solvers.local_search.refit_swap.walker import Walker
from maskgap.solvers.local_search.terms import Terms

HINT_POPULATION = 32
"""Members of the search by the mask loss whose mask is one start."""

SPREAD = 0.5
"""Standard deviation of the logarithm by which costs of an elimination are scaled for a member."""

PLAIN = 4
"""One member in so many begins with a uniformly random mask, and so does one after a known one."""

SAME = 1e-9
"""Share of the loss within which two members count as one."""

NOTHING = 1e-14
"""A loss of less than this share of that of pruning everything is zero to rounding."""

WORTH = 0.8
"""Share of the columns that may be open for a round to be made on them alone."""


@dataclass(eq=False, slots=True)
class Member:
    """A local optimum: kept (m,) bool, and its loss."""

    kept: Flags
    loss: float


def search_row(hessian: Matrix, target: Vector, groups: BudgetGroups, terms: Terms) -> Found:
    """Search the masks of a row; population 1 is one descent.

    hessian: H (n, n) float64, positive definite. target: w (n,). The loss is in their units. Raises
    Refused where H is not positive definite.
    """
    search = _Search(hessian, target, groups, terms)
    finished = search.run()
    return Found(Kept(search.best.kept), search.best.loss, search.swaps, finished)


class _Search:
    """The best mask so far, the exchanges made, and what limits them."""

    def __init__(self, hessian: Matrix, target: Vector, groups: BudgetGroups, terms: Terms) -> None:
        self._hessian, self._target = hessian, target
        self._groups, self._terms = groups, terms
        self._quadratic = Quadratic.of(hessian, target, groups)
        self._walker = Walker(self._quadratic)
        self._all: Flags = np.ones(groups.n, dtype=bool)
        self._dense: Matrix | None = None
        self._nothing = NOTHING * float(target @ hessian @ target)
        self.best = Member(self._all, np.inf)
        self.swaps = 0
        self._repeated = False

    def run(self) -> bool:
        """Search to the end; whether no limit came first."""
        terms, size = self._terms, 1
        start = terms.start
        if start is None:
            start = self._groups.prune_lowest(self._target**2 * self._hessian.diagonal())
        self._take(Member(start, self._quadratic.loss(start)))
        finished = self._descend(start) is not None
        while finished and size < terms.population and not self._settled():
            size = min(max(FIRST_STAGE, 2 * size), terms.population)
            finished = self._stage(size)
        return finished

    def _settled(self) -> bool:
        """Whether nothing can be better."""
        return not 0 < self._groups.pruned < self._groups.size or self.best.loss <= self._nothing

    def _take(self, member: Member) -> None:
        if member.loss < self.best.loss:
            self.best = Member(member.kept.copy(), member.loss)
            self._terms.report(Kept(self.best.kept), member.loss)

    def _left(self) -> int:
        most = self._terms.max_moves
        return -1 if most < 0 else most - self.swaps

    def _end(self, walker: Walker, sure: bool = True) -> Member | None:
        """The end of a descent from where a walker is; None where a limit came first."""
        found = walker.descend(self._left(), self._terms.expired, sure)
        self.swaps += found.swaps
        if found.local:
            return Member(walker.kept.copy(), found.loss)
        if sure:
            self._take_lifted(walker, Member(walker.kept, found.loss))
        return None

    def _take_lifted(self, walker: Walker, member: Member) -> None:
        self._take(Member(walker.quadratic.lift(member.kept), member.loss))

    def _descend(self, kept: Flags) -> Member | None:
        """Descend on all columns."""
        self._walker.go(kept)
        member = self._end(self._walker)
        if member is not None:
            self._take(member)
        return member

    def _stage(self, size: int) -> bool:
        """A population that begins with the best mask; whether it converged."""
        random = np.random.default_rng([*self._terms.seed, size])
        members = [self.best]
        for constructed in self._constructions(size, random):
            member = self._end(self._walker) if constructed else None
            if member is None:
                return False
            self._take(member)
            self._repeated = _known(member, members)
            if not self._repeated:
                members.append(member)
            if len(members) == size:
                break
        while len(members) > 1:
            before = self.best.loss
            after = self._round(members, random)
            if after is None:
                return False
            if not self.best.loss < before * (1.0 - SAME):
                break
            members = after
        return True

    def _constructions(self, size: int, random: np.random.Generator) -> Iterator[bool]:
        """Bring the walker to one start after another; whether time sufficed for it."""
        groups, expired = self._groups, self._terms.expired
        plain = np.ones(groups.n)
        if size <= FIRST_STAGE:
            yield self._eliminate(plain)
            nothing = np.zeros(groups.n, dtype=bool)
            self._walker.take(self._quadratic.tableau(nothing), nothing)
            yield self._walker.grow(np.full(groups.count, groups.kept), expired)
            quad = np.outer(self._target, self._target) * self._hessian
            own = Terms(self._terms.start, self._terms.seed, HINT_POPULATION, -1, expired)
            hint = mask_loss.improve(quad, groups, own)
            self._walker.go(hint.mask)
            yield True
        for place in range(2 * size):
            if self._repeated or place % PLAIN == PLAIN - 1:
                self._walker.go(groups.prune_lowest(random.random(groups.n)))
                yield True
            else:
                yield self._eliminate(plain * np.exp(SPREAD * random.normal(size=groups.n)))

    def _eliminate(self, factors: Vector) -> bool:
        if self._dense is None:
            self._dense = self._quadratic.tableau(self._all)
        self._walker.take(self._dense.copy(), self._all)
        left = np.full(self._groups.count, self._groups.pruned)
        return self._walker.shrink(left, factors, self._terms.expired)

    def _round(self, members: list[Member], random: np.random.Generator) -> list[Member] | None:
        """The members after recombination, without equal ones; None where a limit came first."""
        self._walker.go(self.best.kept)
        masks = np.array([member.kept for member in members])
        state = open_columns(masks, self._walker.alone(), self._groups)
        walker = self._walker
        if (state == 0).mean() <= WORTH:
            own = Quadratic.of(self._hessian, self._target, self._groups, state)
            walker = Walker(own)
        free = walker.quadratic.free
        inner = [Member(member.kept[free], member.loss) for member in members]
        if not self._evolve(walker, inner, random):
            return None
        ended: list[Member] = []
        for one in inner:
            member = self._descend(walker.quadratic.lift(one.kept))
            if member is None:
                return None
            if not _known(member, ended):
                ended.append(member)
        return ended

    def _evolve(self, walker: Walker, members: list[Member], random: np.random.Generator) -> bool:
        """Recombine until many children in a row changed nothing; whether no limit came first."""
        child, state = np.empty(len(walker.kept), dtype=bool), _generator(random)
        offsets, idle = walker.quadratic.offsets, 0
        while idle <= PATIENCE * len(members):
            idle += 1
            a, b = random.choice(len(members), 2, replace=False).tolist()
            one, other = members[a], members[b]
            if not recombine(one.kept, other.kept, offsets, state, child):
                if self._terms.expired():
                    return False
                continue
            walker.go(child)
            found = self._end(walker, sure=False)
            if found is None:
                self._end(walker)  # for what it is worth
                return False
            near = (found.kept != one.kept).sum() <= (found.kept != other.kept).sum()
            place = a if near else b
            if found.loss < members[place].loss and not _known(found, members):
                found = self._end(walker)
                if found is None:
                    return False
                if found.loss < members[place].loss and not _known(found, members):
                    members[place], idle = found, 0
                    self._take_lifted(walker, found)
        return True


def _known(member: Member, members: list[Member]) -> bool:
    return any(abs(member.loss - other.loss) <= SAME * other.loss for other in members)


def _generator(random: np.random.Generator) -> NDArray[np.uint64]:
    """A state of the compiled generator: (1,) odd."""
    return random.integers(1 << 62, size=1, dtype=np.uint64) | np.uint64(1)


def warm_up() -> None:
    """Compile the kernels, or load them; those of the search by the mask loss are its own."""
    walkers.warm_up()
    one, other = np.array([True, False]), np.array([False, True])
    state = np.ones(1, dtype=np.uint64)
    recombine(one, other, np.array([0, 2]), state, np.empty(2, dtype=bool))
