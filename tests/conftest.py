"""Shared instances and Hypothesis profile of the tests."""

from pathlib import Path

import pytest
from hypothesis import settings

KNOWN = Path(__file__).resolve().parents[2] / "shared" / "known"

settings.register_profile("maskgap", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("maskgap")


@pytest.fixture(scope="session")
def known() -> Path:
    """The bank of real problems with proven optima."""
    if not KNOWN.exists():
        pytest.skip("../shared/known is absent: the bank of proven optima cannot be used")
    return KNOWN
