"""Models of native solvers on any set of masks: products, rows as text, first points."""

import numpy as np
import pytest

from maskgap.benchmarks.commands.export import lp_text, mps_text
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from maskgap.solvers.mip import highs
from maskgap.solvers.mip.adapter import NativeRun
from maskgap.solvers.native import highs_milp, highs_oa
from maskgap.solvers.protocol import Deadline, Limits
from tests.helpers.coupled import PARTS, SETS, coupled_layer

NAMES = [
    "layer:50%", "2:3^T", "2:4^T", "50%;block=2", "50%;cap=3/4", "50%;cap=3/6+3", "50%;cost=40%",
    "50%;block=2;cap=2/3", "50%;cap=3/4;cost=45%", "50%;cost=50%;forced row 0",
]  # fmt: skip


def part_of(name):
    """A part with the pattern of a name of SETS."""
    text, _, row = name.partition(" row ")
    layer = coupled_layer(*PARTS.get(text, ((3, 12),))[0])
    first = int(row or 0)
    rows = None if text in PARTS else range(first, first + 1)
    return next(iter(Problem.of(layer, parse_pattern(text), rows)))


def _some(masks, count=40):
    return masks[:: max(1, len(masks) // count)]


@pytest.mark.parametrize("name", NAMES)
def test_every_mask_meets_the_rows_of_the_products_and_costs_its_loss(name):
    legal, masks = SETS[name]
    part = part_of(name)
    assert part.legal.identity == legal.identity
    model = highs_milp.linearise(part.quad, part.legal)
    for mask in _some(masks):
        x = highs_milp.complete(mask)
        rows = model.matrix @ x
        assert (model.row_lower <= rows).all()
        assert (rows <= model.row_upper).all()
        assert (model.lower <= x).all()
        assert (x <= model.upper).all()
        assert model.cost @ x == pytest.approx(part.scaled_loss(mask), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_products_leave_no_other_vector_and_no_other_value(name):
    """Vectors that are no masks meet no rows; at a mask, the least over products is its loss."""
    legal, masks = SETS[name]
    part = part_of(name)
    model = highs_milp.linearise(part.quad, part.legal)
    rng = np.random.default_rng(1)
    n = legal.n
    for mask in [*_some(masks, 3), *(rng.random((6, n)) < 0.5)]:
        z = (~mask).astype(float)
        fixed = highs.LinearModel(
            model.cost,
            np.concatenate([z, model.lower[n:]]),
            np.concatenate([z, model.upper[n:]]),
            *(model.matrix, model.row_lower, model.row_upper, n),
        )
        native = highs.load(fixed, Limits(Deadline(20)), 0.0, 0)
        native.run()
        forced = (z[:n] < model.lower[:n]).any() or (z[:n] > model.upper[:n]).any()
        if legal.is_legal(mask):
            value = native.getInfo().objective_function_value
            assert value == pytest.approx(part.scaled_loss(mask), abs=1e-7)
        else:
            assert forced or native.getModelStatus().name == "kInfeasible"


@pytest.mark.parametrize("name", NAMES)
def test_tangents_of_outer_approximation_lie_below_every_loss(name):
    _, masks = SETS[name]
    part = part_of(name)
    run = NativeRun(part, Limits(Deadline(20)), "none", 0, 1e-7)
    tangents = highs_oa.build(run, "diag", "best")
    for mask in _some(masks, 200):
        assert tangents.height(mask) * run.unit <= part.scaled_loss(mask) * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("fmt", ["lp", "mps"])
@pytest.mark.parametrize("name", NAMES)
def test_an_exported_part_reads_back_with_the_same_masks(name, fmt, tmp_path):
    highspy = pytest.importorskip("highspy")
    _, masks = SETS[name]
    part = part_of(name)
    path = tmp_path / f"part.{fmt}"
    path.write_text(lp_text(part) if fmt == "lp" else mps_text(part))
    solver = highspy.Highs()
    solver.silent()
    assert solver.readModel(str(path)) == highspy.HighsStatus.kOk
    lp = solver.getLp()
    order = [lp.col_names_.index(f"z{j}") for j in range(part.n)]
    dense = np.zeros((lp.num_row_, lp.num_col_))
    starts = lp.a_matrix_.start_
    for column in range(lp.num_col_):
        entries = slice(starts[column], starts[column + 1])
        dense[lp.a_matrix_.index_[entries], column] = lp.a_matrix_.value_[entries]
    dense = dense[:, order]
    low, high = np.array(lp.col_lower_)[order], np.array(lp.col_upper_)[order]
    members = {tuple(mask) for mask in masks}
    rng = np.random.default_rng(2)
    for mask in [*_some(masks), *(rng.random((60, part.n)) < 0.5)]:
        z = (~mask).astype(float)
        sums = dense @ z
        meets = (np.array(lp.row_lower_) <= sums).all() and (sums <= lp.row_upper_).all()
        meets = meets and (low <= z).all() and (z <= high).all()
        assert meets == (tuple(mask) in members)


@pytest.mark.parametrize("fmt", ["lp", "mps"])
@pytest.mark.parametrize("name", NAMES)
def test_scip_reads_an_exported_part_and_finds_its_optimum(name, fmt, tmp_path):
    pyscipopt = pytest.importorskip("pyscipopt")
    _, masks = SETS[name]
    part = part_of(name)
    path = tmp_path / f"part.{fmt}"
    path.write_text(lp_text(part) if fmt == "lp" else mps_text(part))
    model = pyscipopt.Model()
    model.hideOutput()
    model.readProblem(str(path))
    model.optimize()
    least = min(part.scaled_loss(np.array(mask)) for mask in masks)
    assert model.getStatus() == "optimal"
    assert model.getObjVal() == pytest.approx(least, abs=1e-6)


def test_a_row_of_a_coupled_pattern_is_exported_with_its_whole_part(tmp_path, capsys):
    from maskgap.benchmarks.commands import export
    from maskgap.instances.formats.files import write_layer

    layer = coupled_layer(4, 8)
    path = tmp_path / "layer.safetensors"
    write_layer(path, layer)
    assert export.run(path, 2, "1:2^T", "lp") == 0
    text = capsys.readouterr().out
    (part,) = (p for p in Problem.of(layer, parse_pattern("1:2^T")) if 2 in p.rows)
    assert text == lp_text(part)
    assert part.rows == range(2, 4)
