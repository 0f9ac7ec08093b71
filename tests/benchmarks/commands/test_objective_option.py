"""What is minimised, as the commands, the suites and the Python calls are told."""

import json

import numpy as np
import pytest

import maskgap as package
from maskgap.benchmarks.suites.plan import suite_digest
from maskgap.benchmarks.suites.suite import Suite, read_suite
from maskgap.instances.errors import InputError, Refused
from maskgap.instances.formats.files import write_layer
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import MASK, objective_spec
from maskgap.instances.problem import Problem
from tests.helpers.tiny import random_layer


@pytest.fixture
def layer(tmp_path):
    made = random_layer(5, 12, rows=2)
    own = Layer.from_arrays(made.weight, made.gram, 2 * made.gram)
    write_layer(tmp_path / "layer", own)
    return own


def lines(done, code=0):
    assert done.returncode == code, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def one_line(done, said):
    assert done.returncode == 2, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("maskgap: ")
    assert said in done.stderr


@pytest.mark.parametrize("solver", ["exhaustive", "wanda"])
@pytest.mark.parametrize("ridge", [None, 0.0, 0.3])
def test_solve_tells_refit_losses_and_the_errors_beside_them(called, layer, solver, ridge):
    words = () if ridge is None else ("--ridge", ridge)
    done = called("solve", "layer", "-p", "50%", "--solver", solver, "--objective", "refit",
                  *words, "--json")  # fmt: skip
    spec = objective_spec("refit", ridge)
    problem = Problem.of(layer, parse_pattern("50%"), objective=spec)
    for line, part in zip(lines(done), problem, strict=True):
        mask = np.ones(12, dtype=bool)
        mask[line["pruned"]] = False
        change = part.refitted(mask) - part.weight
        assert line["ridge"] == spec.ridge
        assert line["objective"] == pytest.approx(part.loss(mask), rel=1e-12)
        assert line["error_without_ridge"] == pytest.approx(change @ layer.gram @ change)
        assert line["objective_eval"] == pytest.approx(2 * line["error_without_ridge"])
        assert "error_own_weights" not in line
        assert line["verdict"] == ("closed" if solver == "exhaustive" else "feasible")


def test_lines_of_the_mask_loss_are_as_they_were(called, layer):
    plain = lines(called("solve", "layer", "-p", "50%", "--solver", "wanda", "--json"))
    asked = lines(called("solve", "layer", "-p", "50%", "--solver", "wanda", "--json",
                         "--objective", "mask"))  # fmt: skip
    for one, other in zip(plain, asked, strict=True):
        assert list(one) == list(other)
        assert one["objective"] == other["objective"]
        assert not {"ridge", "error_without_ridge"} & set(one)


def test_coupled_rows_have_their_own_errors(called, layer):
    *rows, total = lines(called("solve", "layer", "-p", "layer:50%", "--solver", "wanda",
                                "--objective", "refit", "--json"))  # fmt: skip
    for name in ("objective", "error_without_ridge"):
        assert sum(row[name] for row in rows) == pytest.approx(total[name])
    assert {row["ridge"] for row in [*rows, total]} == {0.01}


def test_people_get_a_table_and_are_told_how_to_go_on(called, layer):
    done = called("solve", "layer", "-p", "50%", "--solver", "wanda", "--objective", "refit")
    assert done.returncode == 0
    assert "--objective refit --ridge 0.01" in done.stderr
    assert "1.0000" in done.stdout  # over Wanda's mask, re-optimised as well


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--objective", "refitt"), "--objective: no objective 'refitt'"),
        (("--objective", "refit", "--ridge", "-1"), "--ridge: ridge is -1"),
        (("--objective", "refit", "--ridge", "nan"), "--ridge: ridge is nan"),
        (("--ridge", "0.1"), "--ridge: ridge 0.1 is of objective refit alone"),
        (("--objective", "refit", "--ridge", "x"), "--ridge"),
    ],
)
@pytest.mark.parametrize("command", ["solve", "bound", "check"])
def test_what_cannot_be_meant_is_one_line(called, layer, tmp_path, command, words, said):
    (tmp_path / "proof").write_bytes(b"")
    own = {
        "solve": ("layer", "-p", "50%", "--solver", "wanda"),
        "bound": ("layer", "-p", "50%"),
        "check": ("proof", "--instance", "layer", "-p", "50%"),
    }[command]
    done = called(command, *own, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_singular_gram_needs_a_ridge(called, tmp_path):
    write_layer(tmp_path / "layer", random_layer(5, 12, tokens=4))
    words = ("solve", "layer", "-p", "50%", "--solver", "wanda", "--objective", "refit")
    one_line(called(*words, "--ridge", "0"), "give a larger ridge, such as 0.01")
    assert called(*words).returncode == 0


def test_who_bounds_the_mask_loss_refuses(called, layer):
    done = called("solve", "layer", "-p", "50%", "--solver", "sdp-bound", "--objective", "refit")
    one_line(done, "refit is minimised by exhaustive")


def test_a_proof_of_the_mask_loss_is_of_another_question(called, layer, tmp_path):
    done = called("solve", "layer", "-p", "50%", "--solver", "exhaustive", "--proof", "proofs",
                  "--rows", "0:1")  # fmt: skip
    assert done.returncode == 0, done
    words = ("check", "proofs/row0.proof.safetensors", "--instance", "layer", "-p", "50%")
    assert called(*words).returncode == 0
    other = called(*words, "--objective", "refit")
    assert other.returncode == 1
    assert "objective" in other.stderr
    told = package.check(
        tmp_path / "proofs/row0.proof.safetensors", layer, "50%", objective="refit"
    )
    assert not told


def test_the_list_of_solvers_says_what_they_minimise(called):
    told = {line["name"]: line["objectives"] for line in lines(called("solvers", "--json"))}
    assert told["exhaustive"] == ["mask", "refit"]
    assert told["wanda"] == ["mask"]
    assert "mask,refit" in called("solvers").stdout
    one = called("solvers", "magnitude").stdout
    assert "objectives: mask; its masks are judged under refit too" in one
    assert "judged" not in called("solvers", "qp-bound").stdout


def test_python_calls_take_an_objective(layer):
    weight, gram = layer.weight, layer.gram
    (first, *_) = rows = package.solve(
        weight, gram, "50%", solver="exhaustive", objective="refit", ridge=0.2
    )
    assert first.problem.objective == objective_spec("refit", 0.2)
    masks = np.stack([row.answer.mask for row in rows])
    judged = package.certify(weight, gram, "50%", masks, objective="refit", ridge=0.2)
    weights = np.stack([row.problem.refitted(row.answer.mask) for row in rows])
    as_is = package.certify(
        weight, gram, "50%", masks, weights=weights, objective="refit", ridge=0.2
    )
    worse = package.certify(
        weight, gram, "50%", masks, weights=1.1 * weights, objective="refit", ridge=0.2
    )
    for row, one, two, three in zip(rows, judged, as_is, worse, strict=True):
        assert one.objective == row.certificate.objective
        assert two.objective == pytest.approx(one.objective, rel=1e-9)
        assert three.objective > one.objective
        assert one.error_without_ridge == row.certificate.error_without_ridge
    plain = package.certify(weight, gram, "50%", masks)
    assert all(a.objective > b.objective for a, b in zip(plain, judged, strict=True))
    with pytest.raises(InputError, match="not 0 everywhere"):
        package.certify(weight, gram, "50%", masks, weights=weight, objective="refit")
    with pytest.raises(InputError, match="under objective refit"):
        package.certify(weight, gram, "50%", masks, weights=weights)
    with pytest.raises(InputError, match="no objective"):
        package.solve(weight, gram, "50%", objective="loss")


SUITE = """
name = "both"
[[groups]]
name = "plain"
instances = ["layer.safetensors"]
patterns = ["50%"]
solvers = ["wanda", "exhaustive", "sdp-bound"]
[[groups]]
name = "refitted"
instances = ["layer.safetensors"]
patterns = ["50%"]
solvers = ["wanda", "exhaustive", "sdp-bound"]
objective = "refit"
ridge = 0.05
"""


def test_a_suite_has_objectives_by_group(called, layer, tmp_path):
    write_layer(tmp_path / "layer.safetensors", layer)
    (tmp_path / "both.toml").write_text(SUITE)
    plan = lines(called("run", "both.toml", "--out", "out", "--dry-run", "--json"))
    assert {line.get("objective") for line in plan} == {"mask", "refit, ridge 0.05", None}
    *records, _ = lines(called("run", "both.toml", "--out", "out", "--jobs", "1", "--json"))
    assert len(records) == 12
    refit = [record for record in records if record["ridge"] is not None]
    assert {(r["ridge"], r["group"]) for r in refit} == {(0.05, "refitted")}
    assert {r["solver"] for r in refit if r["stop"] == "refused"} == {"sdp-bound"}
    assert len({record["key"] for record in records}) == 12
    exact = {r["row"]: r["objective"] for r in refit if r["solver"] == "exhaustive"}
    wanda = {r["row"]: r["objective"] for r in refit if r["solver"] == "wanda"}
    assert all(exact[row] <= wanda[row] for row in exact)
    again = called("run", "both.toml", "--out", "out", "--dry-run", "--json")
    assert lines(again)[-1]["recorded"] == 10
    people = called("run", "both.toml", "--out", "out", "--dry-run").stdout
    assert "50% (refit, ridge 0.05) wanda" in people


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ('objective = "refitt"', "did you mean refit?"),
        ('objective = "refit"\nridge = -1', "ridge"),
        ("ridge = 0.1", "of objective refit alone"),
    ],
)
def test_a_suite_that_cannot_be_meant_is_one_line(called, tmp_path, field, said):
    (tmp_path / "odd.toml").write_text(
        'name = "odd"\n[[groups]]\nname = "a"\ninstances = ["query0-n12"]\npatterns = ["50%"]\n'
        f'solvers = ["wanda"]\n{field}\n'
    )
    one_line(called("run", "odd.toml", "--dry-run"), said)


def test_the_digest_of_a_suite_of_mask_losses_stays(tmp_path):
    suite = read_suite("smoke")
    assert all(group.minimised == MASK for group in suite.groups)
    known = suite.model_dump()
    other = Suite.model_validate(
        {**known, "groups": [{**group, "objective": "refit"} for group in known["groups"]]}
    )
    assert suite_digest(suite, None) != suite_digest(other, None)


def test_bound_takes_refit_and_leaves_out_other_sets(layer):
    work = package.bound(layer.weight, layer.gram, "50%", objective="refit", time_limit=60.0)
    assert work.total.bound_kind == "checked"
    assert 0.0 < work.total.bound <= work.total.objective_high
    with pytest.raises(Refused, match=r"--solver fw-bnb$"):
        package.bound(layer.weight, layer.gram, "50%;block=2", objective="refit")
