"""Linear sets out of HiGHS models, built in Python or read from LP and MPS files.

Objectives of such models are passed over: what is minimised is said elsewhere.
"""

from pathlib import Path
from typing import Any

import highspy
import numpy as np
import scipy.sparse

from maskgap.instances.errors import InputError
from maskgap.solvers.oracles.mixed.linear_set import LinearSet, linear_set

KINDS = {highspy.HighsVarType.kContinuous: 0, highspy.HighsVarType.kInteger: 1}


def set_of_model(model: Any, name: str = "HiGHS model") -> LinearSet:
    """The set that a `highspy.Highs` holds.

    Raises InputError for another thing, and for semi-continuous variables.
    """
    if not isinstance(model, highspy.Highs):
        raise InputError(f"{name}: expected a highspy.Highs, not {type(model).__name__}")
    lp = model.getLp()
    n, m = lp.num_col_, lp.num_row_
    if n == 0:
        raise InputError(f"{name}: it has no variables")
    kinds = list(lp.integrality_) or [highspy.HighsVarType.kContinuous] * n
    if not all(kind in KINDS for kind in kinds):
        raise InputError(f"{name}: expected continuous and integer variables, no others")
    matrix = lp.a_matrix_
    parts = np.asarray(matrix.value_), np.asarray(matrix.index_), np.asarray(matrix.start_)
    if m == 0:
        rows = scipy.sparse.csr_matrix((0, n))
    elif matrix.format_ == highspy.MatrixFormat.kColwise:
        rows = scipy.sparse.csr_matrix(scipy.sparse.csc_matrix(parts, shape=(m, n)))
    else:
        rows = scipy.sparse.csr_matrix(parts, shape=(m, n))
    return linear_set(
        rows,
        (np.asarray(lp.row_lower_), np.asarray(lp.row_upper_)),
        (np.asarray(lp.col_lower_), np.asarray(lp.col_upper_)),
        [KINDS[kind] for kind in kinds],
    )


def set_of_file(path: str | Path) -> LinearSet:
    """The set of an LP or MPS file. Raises InputError that names it."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    model: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    model.setOptionValue("output_flag", False)
    if model.readModel(str(path)) == highspy.HighsStatus.kError:
        raise InputError(f"{path}: HiGHS does not read it as an LP or MPS file")
    return set_of_model(model, str(path))
