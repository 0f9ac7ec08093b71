"""`maskgap check`: derive the bounds of a proof again from the layer's data."""

import json
import sys
from pathlib import Path

from benchmarks.certify import gap_of
from benchmarks.proof_check import check_row
from instances.errors import ProofError
from instances.files import read_layer
from instances.patterns import parse_pattern
from instances.problem import Problem
from instances.proof import read_proof


def run(proof: Path, instance: Path, pattern: str, as_json: bool) -> int:
    """0 when every row's proof holds, 1 with the reason when one does not. Raises InputError."""
    layer = read_layer(instance)
    parsed = parse_pattern(pattern)
    Problem.of(layer, parsed)
    row = None
    try:
        for part in read_proof(proof):
            row = part.row
            if not 0 <= row < layer.d_out:
                raise ProofError(f"{proof}: it is about row {row}, the layer has {layer.d_out}")
            rows = range(row, row + part.height)
            if rows.stop > layer.d_out:
                raise ProofError(f"{proof}: rows {row}:{rows.stop} are not within the layer")
            checked = check_row(Problem.of(layer, parsed, rows).row(row), part)
            line = {
                "row": row,
                "holds": True,
                "bound": part.bound,
                "derived_bound": checked.bound,
                "objective": checked.objective,
                "gap": gap_of(checked.objective, part.bound),
                "leaves": checked.leaves,
            }
            if as_json:
                print(json.dumps(line, allow_nan=False), flush=True)
            else:
                objective = "none" if checked.objective is None else f"{checked.objective:.8g}"
                print(
                    f"row {row}: holds; bound {part.bound:.8g}, objective {objective}, "
                    f"{checked.leaves} leaves"
                )
    except ProofError as error:
        if as_json:
            print(json.dumps({"row": row, "holds": False, "reason": str(error)}), flush=True)
        print(f"maskgap: {error}", file=sys.stderr)
        return 1
    return 0
