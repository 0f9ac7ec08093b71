"""What tests of pages share: a real run, a page of every kind of record, one of hostile names."""

import pytest

from maskgap.benchmarks.reading.report.page import write_report
from tests.helpers.command import maskgap
from tests.helpers.pages import SOLVERS, hostile_run
from tests.helpers.records import full_run, write


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The directory of a suite that was run here."""
    directory = tmp_path_factory.mktemp("run")
    maskgap("run", "smoke", "--solvers", ",".join(SOLVERS), "--out", directory, code=0, timeout=250)
    return directory


@pytest.fixture(scope="session")
def full(tmp_path_factory):
    """The page of records of every kind."""
    return write_report(write(tmp_path_factory.mktemp("full"), full_run()))


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """The page of records of which every text is hostile."""
    return write_report(write(tmp_path_factory.mktemp("hostile"), hostile_run()))
