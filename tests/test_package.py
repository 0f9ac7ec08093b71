"""The face of the package: few names, loaded when they are asked for, with their types."""

import subprocess
import sys

import pytest

import maskgap
from tests.helpers.command import python

HEAVY = ("numpy", "scipy", "torch", "pandas", "matplotlib", "pyscipopt", "highspy", "cvxpy")

SCRIPT = """
import numpy as np
import torch

import maskgap

weight, gram = torch.ones(2, 4), np.eye(4)
layer: maskgap.Layer = maskgap.Layer.from_arrays(weight, gram, column_cost=[1, 2, 3, 4])
maskgap.write_layer("layer", layer, dtype=np.float32)
rows: list[maskgap.Judged] = maskgap.solve(weight, gram, "50%", solver="swap", forced=gram)
objective: float | None = rows[0].certificate.objective
found: list[maskgap.Certificate] = maskgap.certify(weight, gram, "50%", weight, bounds=[0.0, 0.0])
work: maskgap.LayerWork = maskgap.bound(weight, gram, "50%", time_limit=1.0)
gap: float | None = work.total.gap
verdict: maskgap.ProofVerdict = maskgap.check(work.proofs(), layer, "50%")
text: str = verdict.reason + maskgap.__version__ + repr(maskgap.read_layer("query0-n12"))
reveal_type(maskgap.check)
maskgap.solve(weight, gram, "50%", colour="red")
maskgap.minimal
"""


def _loaded(code):
    """Which of HEAVY, and which rooms, are loaded after some code in a new process."""
    script = (
        f"import sys\nimport maskgap\n{code}\n"
        "rooms = ['.'.join(name.split('.')[:2]) for name in sys.modules if 'maskgap.' in name]\n"
        f"print(*{{*({HEAVY} & sys.modules.keys()), *rooms}})"
    )
    script = script.replace(f"{HEAVY} &", f"set({HEAVY}) &")
    return set(python(script).stdout.split())


def test_importing_the_package_loads_nothing():
    assert _loaded("") == set()
    assert _loaded("maskgap.__version__; dir(maskgap); maskgap.InputError") == {"maskgap.instances"}


def test_what_solves_loads_no_torch_and_what_checks_no_solver():
    assert "torch" not in _loaded("maskgap.solve; maskgap.bound; maskgap.Layer")
    checking = _loaded("maskgap.check; maskgap.certify; maskgap.read_layer('query0-n12')")
    assert not checking & {"torch", "maskgap.solvers"}


def test_every_name_is_there_and_no_other():
    for name in maskgap.__all__:
        assert getattr(maskgap, name) is not None
    assert set(maskgap.__all__) <= set(dir(maskgap))
    with pytest.raises(AttributeError, match="module 'maskgap' has no attribute 'minimal'"):
        maskgap.minimal  # noqa: B018
    with pytest.raises(ImportError):
        from maskgap import nothing  # noqa: F401


def test_a_user_s_code_is_typed(tmp_path):
    """By mypy, strictly: every name has its type, and what is wrong is found."""
    (tmp_path / "user.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "user.py"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert "def (proof:" in lines[0], done.stdout
    assert "-> maskgap.benchmarks.interface.judging.ProofVerdict" in lines[0]
    errors = [line.rpartition("[")[2] for line in lines if ": error: " in line]
    assert errors == ["call-arg]", "attr-defined]"], done.stdout
