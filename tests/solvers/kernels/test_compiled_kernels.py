"""Compiled kernels: kept where they can be, made from all their sources, off every clock."""

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskgap.instances.sources import shipped
from maskgap.solvers.kernels import cache as kernel_cache
from maskgap.solvers.kernels.cache import Compiling, kernel_digest
from maskgap.solvers.protocol import Deadline, Journal, Limits
from maskgap.solvers.registry import SPECS

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import sys
from maskgap.instances.formats.files import read_layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.objective import objective_spec
from maskgap.instances.problem import Problem
from maskgap.instances.sources import shipped
from maskgap.solvers import registry
from maskgap.solvers.kernels.cache import COMPILING
from maskgap.solvers.kernels.jit import KERNELS
from maskgap.solvers.protocol import Deadline, Limits, solve_batch, solve_part, warm_up


def known():
    return {(kernel.__module__, kernel.__name__, str(s)) for kernel in KERNELS
            for s in kernel.signatures}


objective, foreign = objective_spec(sys.argv[1]), sys.argv[2].split(",")
spec = registry.spec_of(sys.argv[3])
solver = registry.build(spec.name, dict(word.split("=") for word in sys.argv[4:]))
assert not known(), "compiled at import"
warm_up(solver, objective.name)
needless = {entry for entry in known() if any(word in entry[0] for word in foreign)}
assert not needless, needless
layer = read_layer(shipped.path("query0-n12"))
warm, before, told = known(), COMPILING.seconds(), []
COMPILING.listener = told.append
texts = ("50%", "2:4", "layer:50%", "2:4^T", "50%;cap=3/4", "50%;block=2")
for pattern in texts:
    for threads in (1, 2):
        problem = Problem.of(layer, parse_pattern(pattern), objective=objective)
        if registry.refusal(spec, problem.pattern):
            continue
        limits = Limits(Deadline(2.0), 1e-6, threads)
        if spec.batched:
            solve_batch(solver, problem, limits, 0)
        else:
            solve_part(solver, problem.part_of(0), limits, 0)
assert known() <= warm, known() - warm
print(COMPILING.seconds() - before, len(told))
"""

COMPILED = [
    (name, objective)
    for name, spec in SPECS.items()
    if spec.compiled and spec.missing is None
    for objective in spec.objectives
]

FOREIGN = {
    "mask": "refit,perspective",
    "refit": "one_swap,triangles,frank_wolfe,tree.compiled",
}
"""Parts of the names of modules whose kernels no search by this loss calls."""


@pytest.mark.parametrize(
    "words",
    [
        *([objective, FOREIGN[objective], name] for name, objective in COMPILED),
        ["mask", FOREIGN["mask"], "fw-bnb", "variant=away"],
        ["mask", FOREIGN["mask"], "fw-bnb", "branching=strong", "triangle_nodes=0"],
        ["mask", FOREIGN["mask"], "fw-bnb", "reoptimise=on"],
        ["mask", FOREIGN["mask"], "sdp-bound", "triangle_rounds=2", "triangle_least=0"],
        *(
            ["refit", FOREIGN["refit"], "fw-bnb", f"diagonal={kind}"]
            for kind in ("saddle", "inverse")
        ),
        *(["refit", FOREIGN["mask"], name, "loss=mask"] for name in ("swap", "search")),
    ],
    ids=lambda words: " ".join([words[0], *words[2:]]),
)
def test_nothing_is_compiled_in_a_run_nor_at_import(words):
    """What a solver's hook compiles is all that it calls, with every kind of pattern it takes.

    It compiles nothing that is only called for another objective.
    """
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0.0", "0"], done.stderr


def test_solvers_with_kernels_say_so():
    script = (
        "import sys, importlib\nfrom maskgap.solvers.registry import SPECS\n"
        "spec = SPECS[sys.argv[1]]\nimportlib.import_module(spec.target.partition(':')[0])\n"
        "assert ('numba' in sys.modules) == spec.compiled, spec.name"
    )
    for name in ("exhaustive", "wanda", "sparsefw", "scip-miqp", "shift-bound", "highs-oa"):
        subprocess.run([sys.executable, "-c", script, name], cwd=ROOT, check=True)


def test_every_file_with_kernels_is_in_the_digest(tmp_path, monkeypatch):
    with_kernels = [
        path
        for path in (ROOT / "solvers").rglob("*.py")
        if "\n@strict" in (text := path.read_text()) or "\n@fast" in text or "\n@exact" in text
        or "\n@reordered" in text or "\n@unchecked" in text or "\n@kernel" in text
    ]  # fmt: skip
    assert len(with_kernels) > 10
    shutil.copytree(ROOT / "solvers", tmp_path / "solvers", ignore=shutil.ignore_patterns("__*"))
    shutil.copytree(ROOT / "instances", tmp_path / "instances", ignore=lambda *_: ["data"])
    monkeypatch.setattr(kernel_cache, "ROOT", tmp_path)
    monkeypatch.setattr(kernel_cache, "__file__", str(tmp_path / "solvers/kernels/cache.py"))
    seen = {kernel_digest.__wrapped__()}
    constants = ROOT / "instances" / "masks" / "state.py"
    for path in (*with_kernels, constants):
        with (tmp_path / path.relative_to(ROOT)).open("a") as file:
            file.write("# changed\n")
        seen.add(kernel_digest.__wrapped__())
    assert len(seen) == len(with_kernels) + 2
    with (tmp_path / "solvers" / "registry.py").open("a") as file:
        file.write("# changed\n")
    assert kernel_digest.__wrapped__() in seen


def test_a_changed_kernel_changes_those_that_call_it(tmp_path):
    """In a copy: the value of a kernel follows the source of one that it calls in another file."""
    left_out = shutil.ignore_patterns("data", "__pycache__")
    for package in ("solvers", "instances"):
        shutil.copytree(ROOT / package, tmp_path / "maskgap" / package, ignore=left_out)
    shutil.copy(ROOT / ".src/maskgap/__init__.py", tmp_path / "maskgap")
    (tmp_path / "maskgap/solvers/inner.py").write_text(
        "from maskgap.solvers.kernels.jit import strict\n@strict\ndef inner(x):\n    return x + 1\n"
    )
    (tmp_path / "maskgap/solvers/outer.py").write_text(
        "from maskgap.solvers.inner import inner\nfrom maskgap.solvers.kernels.jit import strict\n"
        "@strict\ndef outer(x):\n    return inner(x)\n"
    )

    script = "from maskgap.solvers.outer import outer; print(outer(1))"

    def value():
        done = subprocess.run(
            [sys.executable, "-P", "-c", script],
            capture_output=True, text=True, check=True, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        return int(done.stdout)

    assert value() == value() == 2
    (tmp_path / "maskgap/solvers/inner.py").write_text(
        "from maskgap.solvers.kernels.jit import strict\n@strict\ndef inner(x):\n    return x + 9\n"
    )
    assert value() == 10


def _places(env):
    script = (
        "from maskgap.solvers.kernels.cache import is_temporary, place\n"
        "print(place())\nprint(is_temporary())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True,
        env={**os.environ, **env},
    )  # fmt: skip
    return done.stdout.split()


def test_the_place_that_is_named_comes_first_and_one_in_the_way_is_passed_over(tmp_path):
    name = f"maskgap-kernels-{kernel_digest()}"
    assert _places({"NUMBA_CACHE_DIR": str(tmp_path)}) == [str(tmp_path / name), "False"]
    (tmp_path / "file").touch()
    found, temporary = _places({"NUMBA_CACHE_DIR": str(tmp_path / "file")})
    assert not found.startswith(str(tmp_path))
    assert temporary == "False"


@pytest.mark.parametrize("spoilt", ["", "open", "link"])
def test_temporary_files_are_used_only_where_nobody_else_can_have_made_them(
    tmp_path, monkeypatch, spoilt
):
    monkeypatch.setattr(kernel_cache.tempfile, "gettempdir", lambda: str(tmp_path))
    path = tmp_path / f"maskgap-{os.geteuid()}"
    if spoilt == "open":
        path.mkdir()
        path.chmod(0o777)
    elif spoilt == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        path.symlink_to("elsewhere")
    found = kernel_cache._own_temporary.__wrapped__()
    assert found == (None if spoilt else path)
    if not spoilt:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_compiling_stops_the_clock_and_is_told_from_the_outermost_kernel(monkeypatch):
    compiling, told = Compiling(), []
    compiling.listener = told.append
    monkeypatch.setattr(kernel_cache, "COMPILING", compiling)
    deadline, journal = Deadline(0.2), Journal()
    with journal.phase("build"):
        compiling.begin()
        compiling.begin()
        time.sleep(0.3)
        compiling.end()
        compiling.end()
    assert not deadline.expired()
    assert journal.phases["build"] < 0.2
    assert told[0] is None
    assert len(told) == 2
    assert told[1] == compiling.seconds() >= 0.3
    assert Limits(deadline).deadline.remaining() <= 0.2


NEW_KERNEL = """
from dataclasses import dataclass
import numpy as np
from maskgap.solvers.protocol import Answer, Stop
from maskgap.solvers.kernels.jit import strict


@strict
def doubled(x):
    return 2 * x


@dataclass(frozen=True)
class Late:
    def solve(self, problem, limits, seed):
        doubled(1)
        mask = problem.legal.prune_lowest(np.zeros(problem.n))
        limits.journal.incumbent(mask, problem.scaled_loss(mask))
        return Answer(mask, Stop.FINISHED)
"""


def test_what_a_solver_compiles_in_its_run_is_warm_up_and_said(tmp_path):
    (tmp_path / "late.py").write_text(NEW_KERNEL)
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    layer = shipped.path("query0-n12")
    words = ["solve", str(layer), "-p", "50%", "--solver", "late:Late", "--rows", "0:2", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "maskgap", *words], capture_output=True, text=True,
        cwd=tmp_path, env=env, check=True,
    )  # fmt: skip
    assert done.stderr.count("compiling kernels, once") == 1
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first["warmup_s"] > 0.0
    assert second["warmup_s"] == 0.0
