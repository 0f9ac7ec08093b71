"""The command as another program calls it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def words_of(*words):
    """The command line of a command."""
    return [sys.executable, "-m", "maskgap", *map(str, words)]


def maskgap(*words, cwd=ROOT, text=True, **more):
    """Run a command to its end in a process of its own."""
    return subprocess.run(
        words_of(*words), cwd=cwd, capture_output=True, text=text, timeout=120, **more
    )


def ended(*words):
    """Exit code, standard output and standard error of a command."""
    done = maskgap(*words)
    return done.returncode, done.stdout, done.stderr
