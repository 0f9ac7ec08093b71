"""Search of the rows of a layer on a torch device: walks in step, then exact descents.

Rows come in batches by the memory that is free, and each batch has its share of the time. A row's
mask depends on the batch that it is in, the seed and the device.
"""

from dataclasses import replace

import numpy as np
import torch

from maskgap.instances.arrays import Kept, Pruned, kept_of, pruned_of
from maskgap.instances.errors import Refused
from maskgap.instances.layer import unit_rows
from maskgap.instances.problem import Problem
from maskgap.solvers.local_search.memetic.batch import ROW_VECTORS, Walks, lower_of, walked
from maskgap.solvers.local_search.one_swap.batch import ASSUMED_MEMORY, MEMORY_SHARE, Device
from maskgap.solvers.local_search.one_swap.course import Course
from maskgap.solvers.local_search.terms import Terms
from maskgap.solvers.protocol import Answer, Deadline, Limits, Stop

ROUNDS = 8
"""Kicks of a row for each member of the population that the processor would have."""


def search_rows(
    problem: Problem, start: Kept, terms: Terms, limits: Limits, begun: float
) -> list[Answer]:
    """One answer a row, never of a larger loss than its start (rows, n).

    terms: seed, population and moves; the rest of it is not looked at. Raises Refused for a device
    that cannot be used, or has too little memory.
    """
    engine = Device(limits.device)
    with limits.journal.phase("build"):
        gram, gram_exponent = problem.layer.gram_unit
        weight, exponents = unit_rows(problem.weight)
        groups = problem.groups
        height = min(engine.load(gram, groups, len(problem)), _height(limits.device, gram.shape[0]))
        exact = torch.as_tensor(gram, device=limits.device)
        narrow = exact.to(torch.float32)
    answers: list[Answer] = []
    for first in range(0, len(problem), height):
        part = slice(first, min(first + height, len(problem)))
        own = Kept(start[part].copy())
        if limits.deadline.expired():
            stop = limits.deadline.stop()
            answers += [Answer(Kept(mask), stop, counters={"swaps": 0}) for mask in own]
            continue
        course = Course(2 * exponents[part] + gram_exponent, begun)
        share = len(own) / (len(problem) - first)
        turn = Deadline(share * limits.deadline.remaining())

        def over(turn: Deadline = turn) -> bool:
            return turn.expired() or limits.deadline.expired()

        swaps, ended = 0, True
        if not groups.single:
            rows = torch.as_tensor(weight[part], device=limits.device)
            before = torch.as_tensor(pruned_of(own), device=limits.device)
            random = torch.Generator(limits.device).manual_seed(
                int(np.random.SeedSequence([*terms.seed, first]).generate_state(1)[0])
            )
            slim = rows.to(torch.float32)
            square = slim.square() * narrow.diagonal()
            try:
                walks = Walks(narrow, slim, square, groups.count, random, before.clone())
                rounds = ROUNDS * terms.population
                best, swaps, ended = walked(walks, rounds, terms.max_moves, over)
                own = kept_of(Pruned(lower_of(rows, exact, before, best).cpu().numpy()))
            except torch.OutOfMemoryError:
                raise Refused(
                    f"device '{limits.device}' has too little memory for {gram.shape[0]} columns"
                ) from None
        left = -1 if terms.max_moves < 0 else terms.max_moves - swaps
        made = engine.descend(weight[part], own, course, left, limits.deadline)
        for answer in made:
            stop = answer.stop
            if stop is Stop.FINISHED and not ended:
                stop = limits.deadline.stop() if left else Stop.ITERATIONS
            total = swaps + answer.counters["swaps"]
            answers.append(replace(answer, stop=stop, counters={"swaps": total}))
        limits.journal.rows_done(len(made))
    return answers


def _height(device: str, n: int) -> int:
    """Rows of a batch, by the memory that is free."""
    free = ASSUMED_MEMORY
    if torch.device(device).type == "cuda":
        free, _ = torch.cuda.mem_get_info(torch.device(device))
    return max(1, int(free * MEMORY_SHARE) // (4 * ROW_VECTORS * n))
