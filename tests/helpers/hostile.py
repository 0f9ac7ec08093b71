"""Proof files made to deceive: how they are asked about, and what their layers' optima are.

Each is refused in one line, or what is accepted of it is true of the exact optimum.
"""

import contextlib
import io
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np

from maskgap.benchmarks.commands import check
from maskgap.benchmarks.verify.check import check_part
from maskgap.instances.convex_function import ConvexFunction
from maskgap.instances.errors import InputError, ProofError
from maskgap.instances.formats.evidence.leaves import equality_rows, root_leaves
from maskgap.instances.formats.files import write_layer
from maskgap.instances.formats.proof import PartProof
from maskgap.instances.formats.proof_file import write_proof
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.instances.triangles import Triangles
from tests.helpers.exact import losses
from tests.helpers.legal_masks import legal_pruned
from tests.helpers.tiny import random_layer


def optimum(part):
    """The least exact loss of a small part."""
    return min(losses(part, legal_pruned(part.layer, part.pattern, part.rows)))


def asked(folder, layer, pattern, proofs, about=None, limit_s=30.0):
    """(exit code, lines) of `maskgap check` on a file of proofs; a refusal is one line.

    about: the problem that the file says it is about, where it is another than the one asked.
    """
    problem = Problem.of(layer, parse_pattern(pattern))
    write_layer(folder / "layer.safetensors", layer)
    path = folder / "it.proof.safetensors"
    write_proof(path, about or problem, proofs)
    return of_file(folder, path, pattern, limit_s)


def of_file(folder, path, pattern, limit_s=30.0):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        layer = folder / "layer.safetensors"
        code = check.run(check.CheckOptions(path, layer, pattern, time_limit=limit_s, as_json=True))
    assert (err.getvalue().count("\n") == 1) == (code == 1)
    return code, [json.loads(line) for line in out.getvalue().splitlines()]


def holds_or_is_refused(part, proof):
    """The checker refuses, or its bound is at most the optimum; whether it accepted."""
    try:
        found = check_part(part, proof).bound
    except ProofError:
        return False
    assert Fraction(found) <= optimum(part)
    return True


def row_of(layer, pattern, row=0):
    return Problem.of(layer, parse_pattern(pattern)).part_of(row)


def tree(part, leaves, **changes):
    proof = PartProof(part.row, part.digest, 0.0, None, leaves, height=part.height)
    return replace(proof, **changes)


def rooted(part, function, point=None):
    x = np.zeros(part.n) if point is None else point
    return tree(part, root_leaves(function, x))


def overflowing(n, length=44, power=25):
    """A symmetric matrix, far from semidefinite, whose Cholesky factor LAPACK calls a success.

    Row `length` of the factor grows by 2^power a step until it is infinite; infinity times 0 is
    NaN, and a NaN pivot is not found to be negative.
    """
    small, more = 2.0**-power, 1 + 2.0**-10
    matrix = np.zeros((n, n))
    matrix[0, 0], matrix[0, 1] = more * more, more
    for k in range(1, length):
        matrix[k, k] = 1 + small * small
    for k in range(1, length - 1):
        matrix[k, k + 1] = small
    matrix[length, length] = matrix[0, length] = more
    return np.triu(matrix) + np.triu(matrix, 1).T


def with_matrix(part, target, elsewhere, slack=0.0):
    """A function of a row whose P is a target and a slack of the diagonal, by McCormick terms.

    elsewhere: u of the columns that have nothing in the target.
    """
    n, off = part.n, np.triu(target - part.quad, 1)
    pairs = np.argwhere(off > 0)  # the term z_j - z_i z_j, taken off, adds z_i z_j
    triangles = Triangles(
        np.column_stack([np.full(len(pairs), -1), pairs]).astype(np.int32),
        np.full(len(pairs), 2, np.int16),
        2 * off[off > 0],
    )
    u = part.quad.diagonal() - target.diagonal() - slack
    u = np.where(target.any(axis=1), u, elsewhere)
    return ConvexFunction(u, np.zeros((len(equality_rows(part.legal)[1]), n)), triangles)


def row_in_range(weight, gram, pattern):
    """The first row, or None where its products leave float64 and are refused in these words."""
    try:
        return row_of(Layer.from_arrays(weight, gram), pattern)
    except InputError as error:
        if "float64" in str(error):
            return None
        raise


_PLAIN = random_layer(6, 4, rows=4)
STEEP = Layer.from_arrays(
    _PLAIN.weight * np.array([[10.0], [1.0], [0.1], [0.01]]),
    _PLAIN.gram,
    column_cost=np.arange(1, 5),
    forced=np.zeros((4, 4), np.int8),
)
"""Rows of losses that are far apart, with costs, and forced columns that force none."""
