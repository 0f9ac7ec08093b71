"""The worked examples run as they are printed, and say what the page says."""

import re

from tests.helpers.command import ROOT, python

PAGE = (ROOT / "solvers" / "convex" / "EXAMPLES.md").read_text(encoding="utf-8")


def test_the_examples_run_as_they_are_printed(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    said = python("".join(blocks), cwd=tmp_path, timeout=200).stdout.splitlines()
    features, shares, runs = said
    assert features.startswith("features [")
    assert all(str(j) in features for j in (3, 11, 25))  # those that the data are made of
    assert "spent True" in shares
    assert runs.startswith("runs 8 ")
    for line in said:
        assert line.endswith("True"), line
