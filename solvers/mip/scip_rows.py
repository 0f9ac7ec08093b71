"""The rows of a set of masks as constraints of a SCIP model."""

from collections.abc import Sequence
from typing import Any

from pyscipopt import quicksum
from pyscipopt.scip import Expr, Term

from maskgap.instances.masks.rows import LinearRows
from maskgap.instances.masks.state import KEPT, PRUNED


def add_rows(model: Any, z: Sequence[Any], rows: LinearRows) -> None:
    """Add the rows over the binaries z, and fix the forced columns."""
    for row in rows.as_rows():
        columns, values = row.columns.tolist(), row.values.tolist()
        if all(value == 1 for value in values):
            sums = quicksum(z[j] for j in columns)
        else:
            sums = Expr({Term(z[j]): float(a) for j, a in zip(columns, values, strict=True)})
        if row.is_equality:
            model.addCons(sums == row.lower)
        elif row.upper is None:
            model.addCons(sums >= row.lower)
        elif row.lower is None:
            model.addCons(sums <= row.upper)
        else:
            model.addCons((row.lower <= sums) <= row.upper)
    for variable, state in zip(z, rows.state.tolist(), strict=True):
        if state == PRUNED:
            model.chgVarLb(variable, 1.0)
        elif state == KEPT:
            model.chgVarUb(variable, 0.0)
