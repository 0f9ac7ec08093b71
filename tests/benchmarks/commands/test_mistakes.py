"""A mistake is one line and exit 2."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.helpers.command import one_line


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"mask": np.ones((2, 2), np.float32)},
        {"mask": np.ones(3, np.bool_)},
        {"mask": np.ones((0, 3), np.bool_)},
    ],
)
def test_show_of_a_broken_mask_is_one_line(tmp_path, called, tensors):
    save_file(tensors, tmp_path / "m", {"format": "maskgap-mask/1"})
    one_line(called("show", "m"))


MISTAKES = {
    "solve": [
        "solve",
        "solve layer -p 50%",
        "solve layer -p half --solver wanda",
        "solve nowhere -p 50% --solver wanda",
        "solve . -p 50% --solver wanda",
        "solve layer -p 50% --solver wanda --gap 2",
        "solve layer -p 50% --solver wanda --threads 1000",
        "solve layer -p 50% --solver wanda --seed 99999999999999999999",
        "solve layer -p 50% --solver search --set population=2.5",
        "solve layer -p 50% --solver search --set population=4 --set population=8",
        "solve layer -p 50% --solver fw-bnb --set fixing=perhaps",
        "solve layer -p 50% --solver swap --device gpu",
        "solve layer -p 50% --solver wanda --rows -1:2",
        "solve layer -p 50% --solver wanda --log layer",
        "solve layer -p 50% --solver gurobi",
        "solve layer -p 50%;cost=50% --solver swap",
        "solve layer -p 3:5^T --solver swap",
    ],
    "bound": [
        "bound layer",
        "bound layer -p 50% --max-runs 0",
        "bound layer -p 50% --resume",
        "bound layer -p 50% --rows 4:4",
        "bound layer -p 50% --mask layer",
        "bound layer -p 2:4^T",
        "bound layer -p 50% --executor moon",
        "bound layer -p 50% --scheduler tcp://nowhere:1",
        "bound layer -p 50% --gap nan",
    ],
    "show": ["show", "show nowhere", "show .", "show layer extra", "show /dev/null", "show text"],
    "export": [
        "export layer --row 0",
        "export layer -p 50%",
        "export layer --row 4 -p 50%",
        "export layer --row -1 -p 50%",
        "export layer --row 0 -p 7:5",
        "export layer --row 0 -p 50% --format xml",
        "export text --row 0 -p 50%",
    ],
    "solvers": ["solvers extra", "solvers --jsn", "solvers nosuch", "solver", "solvers -x"],
    "instances": ["instances extra", "instances --all", "instance", "instances -q", "instances ''"],
}


@pytest.mark.parametrize("words", [words for group in MISTAKES.values() for words in group])
def test_a_mistake_is_one_line_and_exit_2(layer, called, words):
    (layer.parent / "text").write_text("no safetensors at all, but long enough for a header")
    if "gurobi" in words and __import__("importlib").util.find_spec("gurobipy"):
        pytest.skip("gurobi is installed")
    one_line(called(*words.replace("''", "x").split()))
