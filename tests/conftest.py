"""Shared instances and Hypothesis profile of the tests."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
KNOWN = ROOT.parent / "shared" / "known"

settings.register_profile("maskgap", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("maskgap")


@pytest.fixture(scope="session")
def known() -> Path:
    """The bank of real problems with proven optima."""
    if not KNOWN.exists():
        pytest.skip("../shared/known is absent: the bank of proven optima cannot be used")
    return KNOWN


@pytest.fixture(autouse=True)
def _own_path(monkeypatch):
    """A command takes the current directory off the path, where the modules of tests are found."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    monkeypatch.setenv("PYTHONSAFEPATH", "")
