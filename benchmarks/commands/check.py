"""`maskgap check`: derive the bounds of a proof again from the layer's data.

A proof holds for exactly the question that was asked: the pattern, the objective with its ridge,
the layer, and the rows. Where a pattern couples rows, those are all rows of the layer, or the ones
that `--rows` names; else a file may be about some of the rows, and the last line says how many of
how many.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path

from maskgap.benchmarks.commands.numbers import at_least, at_most
from maskgap.benchmarks.commands.objective_options import DEFAULT_OBJECTIVE, ObjectiveOptions
from maskgap.benchmarks.commands.screen import say
from maskgap.benchmarks.verify.certificate import gap_of
from maskgap.benchmarks.verify.check import Checked, check_part, checked_together, question_of
from maskgap.benchmarks.verify.clock import Clock
from maskgap.benchmarks.verify.objective import sum_down
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.formats.files import read_layer
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import read_proof
from maskgap.instances.formats.row_range import parse_rows
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Part, Problem

TOGETHER = 256
"""Parts looked at together, where their proofs have work in common."""


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What `maskgap check` is told. rows: that it must be about, None for those that it names.

    time_limit: seconds, None for no limit.
    """

    proof: Path
    instance: Path
    pattern: str
    objective: ObjectiveOptions = DEFAULT_OBJECTIVE
    rows: str | None = None
    time_limit: float | None = None
    as_json: bool = False


def run(options: CheckOptions) -> int:
    """0 when every part's proof holds, 1 with the reason when one does not. Raises InputError."""
    proof, time_limit, as_json = options.proof, options.time_limit, options.as_json
    limit_s = inf if time_limit is None else time_limit
    if not limit_s > 0:
        raise InputError(f"--time-limit {time_limit}: expected a number of seconds above 0")
    layer = read_layer(options.instance)
    objective = options.objective.checked()
    whole = Problem.of(layer, parse_pattern(options.pattern), objective=objective)
    asked = None if options.rows is None else parse_rows(options.rows, layer.d_out)
    if not proof.exists():
        raise InputError(f"{proof}: there is no such file")
    clock, row = Clock(limit_s), None
    bounds = []
    try:
        file = read_proof(proof)
        problem = question_of(whole, file, asked)
        parts = list(problem)
        for top in range(0, len(parts), TOGETHER):
            some, proofs = parts[top : top + TOGETHER], file.proofs[top : top + TOGETHER]
            row = some[0].row
            known = checked_together(some, proofs)
            for place, (part, own) in enumerate(zip(some, proofs, strict=True)):
                row = part.row
                checked = known.get(place) or check_part(part, own, clock)
                if isinstance(checked, ProofError):
                    raise checked
                bounds.append(checked.bound)
                for line in _lines(part, own, checked, as_json):
                    print(line, flush=True)
    except ProofError as error:
        if as_json:
            print(json.dumps({"row": row, "holds": False, "reason": str(error)}), flush=True)
        named = "" if str(error).startswith(str(proof)) else f"{proof}: "
        say(f"maskgap: {named}{error}")
        return 1
    if not as_json:
        print(
            f"rows {problem.rows.start}:{problem.rows.stop} of {layer.d_out}: all hold; "
            f"bound {at_least(sum_down(bounds))} in all"
        )
    return 0


def _lines(part: Part, proof: PartProof, checked: Checked, as_json: bool) -> Iterator[str]:
    """What to print of a part that holds."""
    loss = checked.loss
    if as_json:
        yield json.dumps(
            {
                "row": part.row,
                "height": part.height,
                "holds": True,
                "bound": proof.bound,
                "derived_bound": checked.bound,
                "objective": None if loss is None else loss.value,
                "gap": None if loss is None else gap_of(loss.high, proof.bound),
                "leaves": checked.leaves,
            },
            allow_nan=False,
        )
        return
    name = f"row {part.row}" if part.height == 1 else f"rows {part.rows.start}:{part.rows.stop}"
    objective = "none" if loss is None else at_most(loss.high)
    kind = "trivial bound" if checked.leaves == 0 else "bound"
    text = f"{name}: holds; {kind} {at_least(checked.bound)}, objective {objective}"
    yield f"{text}, {checked.leaves} leaves"
