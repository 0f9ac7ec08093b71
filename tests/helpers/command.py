"""The command, and Python, as another program calls them: in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def words_of(*words):
    """The command line of a command."""
    return [sys.executable, "-m", "maskgap", *map(str, words)]


def environment(**more):
    """The environment of the tests, where `tests.…` is found from any directory, with changes."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def maskgap(*words, code=None, env=None, **more):
    """Run a command to its end. code: the exit code it must have. env: variables to change."""
    done = _run(words_of(*words), env, **more)
    assert code is None or done.returncode == code, (done.returncode, done.stderr)
    return done


def python(script, *words, code=0, env=None, **more):
    """Run a script to its end. code: the exit code it must have, or None."""
    done = _run([sys.executable, "-c", script, *map(str, words)], env, **more)
    assert code is None or done.returncode == code, (done.returncode, done.stderr)
    return done


def _run(command, env, cwd=ROOT, text=True, timeout=120, **more):
    return subprocess.run(
        command, cwd=cwd, text=text, timeout=timeout, capture_output=True,
        env=environment(**(env or {})), **more,
    )  # fmt: skip


def started(*words, cwd=ROOT, env=None, **more):
    """A command that is running, with pipes for its streams unless told otherwise."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen(
        words_of(*words), cwd=cwd, text=True, env=environment(**(env or {})), **pipes
    )


def ended(*words):
    """Exit code, standard output and standard error of a command."""
    done = maskgap(*words)
    return done.returncode, done.stdout, done.stderr


def one_line(done, code=2):
    """Hold a command that has ended to a single line on standard error, and an exit code."""
    assert done.returncode == code, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("maskgap: ")
    assert "Traceback" not in done.stderr


def told(capsys, monkeypatch, *words):
    """(exit code, lines of the command's own on stderr) of a command in this process."""
    from maskgap.benchmarks.commands import cli  # not for those that start a process

    monkeypatch.setattr(sys, "argv", ["maskgap", *map(str, words)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    errors = capsys.readouterr().err.splitlines()
    return exit_.value.code, [line for line in errors if line.startswith("maskgap: ")]
