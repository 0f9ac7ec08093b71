"""What the options of a cluster may be, and what is said without its package."""

import pytest

pytest.importorskip("distributed", reason="pip install maskgap[cluster]")

from tests.helpers.command import python, started


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--executor", "dask", "--scheduler", "tcp://127.0.0.1:9"), "no dask scheduler answers"),
        (("--executor", "dask", "--scheduler", "nonsense"), "tcp://HOST:PORT"),
        (("--executor", "slurm"), "expected local or dask"),
        (("--scheduler", "tcp://127.0.0.1:9"), "--executor dask"),
    ],
)
def test_bad_options_are_one_line(tmp_path, words, message):
    done = started("run", "smoke", "--out", tmp_path / "run", *words)
    stdout, stderr = done.communicate(timeout=120)
    assert done.returncode == 2
    assert len(stderr.splitlines()) == 1
    assert message in stderr
    assert stdout == ""


def test_without_the_package_it_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from maskgap.benchmarks.commands import cli\n"
        "sys.argv = ['maskgap', 'run', 'smoke', '--executor', 'dask']; cli.main()"
    )
    said = python(code, code=2, cwd=tmp_path).stderr
    assert said == "maskgap: --executor dask is not installed: pip install maskgap[cluster]\n"
