"""What the command says of itself: its version, names that a shell completes, what was meant."""

import pytest

from maskgap import __version__
from tests.helpers.command import ended, maskgap, python


def test_the_version_and_nothing_else():
    assert ended("--version") == (0, f"{__version__}\n", "")


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
    asked = {
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
        "_MASKGAP_COMPLETE": "complete_bash",
    }
    done = python(script, env=asked)
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
        ("maskgap solve x --objective re", ["refit"], []),
        ("maskgap show ./no-such", [], []),
    ],
)
def test_a_shell_completes_names(line, names, loaded):
    assert _completed(line) == (names, loaded)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_script(shell):
    script = maskgap(env={"_MASKGAP_COMPLETE": f"source_{shell}"}).stdout
    assert f"_MASKGAP_COMPLETE=complete_{shell}" in script
