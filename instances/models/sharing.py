"""Which matrices are given the same inputs: query, key and value, gate and up, and so on.

Two matrices share one Gram when the very same tensor reaches them, call by call, in every forward:
then their sums have the same terms, and one sum is both, to the last bit. No name says so. A tensor
is the same when it is one object that nobody has written to in between. Whoever is given it first
leads and sums; a follower joins at the first call that it ever has, and is watched from then on.
"""

import weakref
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import torch


class Parted(BaseException):
    """A matrix was given another tensor than the one it shares a Gram with: all begins again."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, slots=True)
class _Seen:
    """A tensor that somebody was given. It is not kept alive."""

    tensor: "weakref.ref[torch.Tensor]"
    version: int

    def is_same(self, tensor: torch.Tensor) -> bool:
        return self.tensor() is tensor and self.version == tensor._version


@dataclass(eq=False)
class _Course:
    """One matrix. calls: of the forward under way. fresh: whether it had but one call so far."""

    leader: str | None = None
    calls: list[_Seen] = field(default_factory=list)
    followed: int = 0
    fresh: bool = True


class Sharing:
    """The matrices of one pass over the data. apart: those that neither lead nor follow."""

    def __init__(self, apart: AbstractSet[str] = frozenset()) -> None:
        self._apart = apart
        self._courses: dict[str, _Course] = {}
        self._first: dict[int, str] = {}  # who was given a tensor first, in its first call

    def leader(self, name: str, inputs: torch.Tensor) -> str | None:
        """Who sums these inputs of a matrix; None: the matrix itself.

        Raises Parted when the matrix followed another so far, which was given other inputs.
        """
        if name in self._apart or inputs.is_inference():
            return None
        course = self._courses.get(name)
        if course is None:
            course = self._courses[name] = _Course(self._joined(inputs))
            if course.leader is None:
                course.calls.append(_Seen(weakref.ref(inputs), inputs._version))
                self._first[id(inputs)] = name
                return None
            course.followed = 1
            return course.leader
        if course.leader is None:
            course.fresh = False
            course.calls.append(_Seen(weakref.ref(inputs), inputs._version))
            return None
        calls = self._courses[course.leader].calls
        if course.followed >= len(calls) or not calls[course.followed].is_same(inputs):
            raise Parted(name)
        course.followed += 1
        return course.leader

    def end_batch(self) -> None:
        """End a forward. Raises Parted when a leader was given more than a follower was."""
        for name, course in self._courses.items():
            if course.leader is not None:
                if course.followed != len(self._courses[course.leader].calls):
                    raise Parted(name)
                course.followed = 0
        for course in self._courses.values():
            course.calls.clear()
            course.fresh = False
        self._first.clear()

    def _joined(self, inputs: torch.Tensor) -> str | None:
        """A matrix whose only call so far was given these inputs."""
        name = self._first.get(id(inputs))
        if name is None:
            return None
        course = self._courses[name]
        return name if course.fresh and course.calls[0].is_same(inputs) else None
