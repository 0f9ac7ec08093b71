"""Leading columns of a shipped layer while the later ones are free."""

import numpy as np
import pytest

from maskgap.instances.errors import InputError
from maskgap.instances.formats import files
from maskgap.instances.hessian import Hessian
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import DEFAULT_RIDGE, objective_spec
from maskgap.instances.problem import Problem
from maskgap.instances.sources import shipped
from maskgap.instances.sources.leading import parse_leading
from maskgap.solvers.one_shot.sparsegpt import SparseGpt
from maskgap.solvers.protocol import Deadline, Limits

WHOLE = "key3-n64"
COLUMNS = 8


def test_a_mask_costs_what_it_costs_the_whole_row_whose_later_columns_are_free():
    whole = files.read_layer(shipped.path(WHOLE))
    h = Hessian.of(whole, DEFAULT_RIDGE).block(range(whole.d_in), range(whole.d_in))
    block = parse_leading(f"leading:{WHOLE},columns={COLUMNS}").layer()
    assert block.weight.shape == (whole.d_out, COLUMNS)
    problem = Problem.of(
        block, parse_pattern("50%"), range(block.d_out), objective=objective_spec("refit", 0.0)
    )
    random = np.random.default_rng(1)
    for row, part in enumerate(problem):
        kept = np.ones(whole.d_in, dtype=bool)
        kept[random.permutation(COLUMNS)[: COLUMNS // 2]] = False
        # x is 0 on the pruned columns and free elsewhere: normal equations in all kept columns
        x = np.zeros(whole.d_in)
        x[kept] = np.linalg.solve(h[np.ix_(kept, kept)], (h @ whole.weight[row])[kept])
        change = x - whole.weight[row]
        truth = change @ h @ change
        assert part.loss(kept[:COLUMNS]) == pytest.approx(truth, rel=1e-5)


def test_sparsegpt_chooses_of_it_what_it_chooses_first_of_the_whole_layer():
    whole = files.read_layer(shipped.path(WHOLE))
    block = parse_leading(f"leading:{WHOLE},columns={COLUMNS}").layer()

    def masks(layer, ridge):
        objective = objective_spec("refit", ridge)
        pattern = parse_pattern("50%")
        problem = Problem.of(layer, pattern, range(layer.d_out), objective=objective)
        answers = SparseGpt(block=COLUMNS).solve_rows(problem, Limits(Deadline(60.0)), 0)
        return np.array([answer.mask for answer in answers])

    np.testing.assert_array_equal(masks(block, 0.0), masks(whole, DEFAULT_RIDGE)[:, :COLUMNS])


def test_a_name_gives_one_layer():
    first, again = (parse_leading(f"leading:{WHOLE},columns=4").layer() for _ in range(2))
    assert first.digest == again.digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("leading:nothing,columns=2", "no shipped layer"),
        ("leading:key3-n64", "does not say how many columns"),
        ("leading:key3-n64,columns=64", "is not 1 to 63"),
        ("leading:key3-n64,columns=0", "is not 1 to 63"),
        ("leading:key3-n64,width=2", "no key"),
    ],
)
def test_blocks_that_cannot_be_are_named(text, message):
    with pytest.raises(InputError, match=message):
        parse_leading(text).layer()
