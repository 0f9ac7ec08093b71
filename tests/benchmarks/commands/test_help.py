"""What the command says of itself: its version, names that a shell completes, what was meant."""

import os
import subprocess
import sys

import pytest

import maskgap
from tests.helpers.command import ended, words_of


def test_the_version_and_nothing_else():
    assert ended("--version") == (0, f"{maskgap.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("solver", "did you mean 'solvers', 'solve'?"),
        ("solvers --jsn", "did you mean --json?"),
        ("--versio", "did you mean --version?"),
        ("solvers wnda", "did you mean wanda?"),
        ("solve query0-n12 -p 50% --solver fw-bb", "did you mean fw-bnb or fw-bnb-scip?"),
        ("run smll", "did you mean small?"),
        ("run small --solvers swp", "did you mean swap?"),
        ("show query0-n13", "did you mean query0-n12"),
        ("solvers quite-another-name", ""),
    ],
)
def test_a_mistyped_name_is_met_by_those_near_it(words, meant):
    code, out, err = ended(*words.split())
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert meant in err
    assert ("did you mean" in err) == bool(meant)


def _completed(line):
    """What a shell is told of the last word of a line, and the heavy modules loaded for it."""
    script = (
        "import sys\nfrom maskgap.benchmarks.commands.cli import main\ntry:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'numpy', 'scipy', 'torch', 'pandas', 'numba', 'pyscipopt', 'highspy'}\n"
        "print(*sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    environment = {
        **os.environ, "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1),
        "_MASKGAP_COMPLETE": "complete_bash",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    return done.stdout.split(), done.stderr.split()


@pytest.mark.parametrize(
    ("line", "names", "loaded"),
    [
        ("maskgap sol", ["solve", "solvers"], []),
        ("maskgap solve --ti", ["--time-limit"], []),
        ("maskgap run sm", ["small", "smoke"], []),
        ("maskgap solve query", ["query0-n12", "query5-n32", "query2-n96"], []),
        ("maskgap show query0", ["query0-n12"], []),
        ("maskgap solve x --solver scip", ["scip-miqp", "scip-factor"], ["numpy", "scipy"]),
        ("maskgap run small --solvers wanda,sw", ["wanda,swap"], ["numpy", "scipy"]),
        ("maskgap show ./no-such", [], []),
    ],
)
def test_a_shell_completes_names(line, names, loaded):
    assert _completed(line) == (names, loaded)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_script(shell):
    script = subprocess.run(
        words_of(), capture_output=True, text=True,
        env={**os.environ, "_MASKGAP_COMPLETE": f"source_{shell}"},
    ).stdout  # fmt: skip
    assert f"_MASKGAP_COMPLETE=complete_{shell}" in script
