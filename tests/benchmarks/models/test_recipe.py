"""Recipes: all they say counts, the command line before it, and what they may not say is named."""

import json

import numpy as np
import pytest

from maskgap.benchmarks.models.recipe import read_recipe
from maskgap.instances.errors import InputError
from tests.helpers.command import maskgap

TOY = "tests.helpers.toys:two_layers"


@pytest.fixture
def data(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32))
    return tmp_path / "x.npy"


def test_a_recipe_says_what_options_say_and_options_go_before_it(tmp_path, data):
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'pattern = "50%"\nsolver = "magnitude"\npropagate = true\n'
        '[patterns]\n"1" = "keep=1"\n[calibration]\nfiles = ["x.npy"]\nsamples = 3\n'
    )
    done = maskgap("prune", TOY, "--recipe", recipe, "--out", tmp_path / "a", "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line.get("pattern") for line in lines] == ["50%", "keep=1", None]
    assert {line["solver"] for line in lines[:2]} == {"magnitude"}
    page = (tmp_path / "a" / "pruning.md").read_text()
    assert "* propagate: True" in page
    assert "'samples': '3'" in page
    words = ("--recipe", recipe, "-p", "25%", "--exclude", "1", "--out", tmp_path / "b", "--json")
    done = maskgap("prune", TOY, *words)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line).get("pattern") for line in done.stdout.splitlines()] == ["25%", None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('patern = "50%"', "there is no key 'patern'; did you mean pattern"),
        ("[calibration]\nsample = 3", "there is no key 'calibration.sample'; did you mean samples"),
        ("pattern = 50", "pattern: Input should be a valid string"),
        ('propagate = "yes"', "propagate: Input should be a valid boolean"),
        ("pattern = ", "not a TOML file"),
        ("\0", "not a TOML file"),
    ],
)
def test_what_a_recipe_may_not_say_is_one_line(tmp_path, text, message):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_not_there_or_bad_ends_the_command_with_2(tmp_path, data):
    done = maskgap("prune", TOY, "--recipe", tmp_path / "none.toml", "--out", tmp_path / "o")
    assert done.returncode == 2
    assert "none.toml: cannot be read" in done.stderr
    (tmp_path / "r.toml").write_text(
        'solver = "wanda"\npattern = "50%"\n[settings]\nno = 1\n[calibration]\nfiles = ["x.npy"]\n'
    )
    done = maskgap("prune", TOY, "--recipe", tmp_path / "r.toml", "--out", tmp_path / "o")
    assert done.returncode == 2
    assert "has no setting 'no'" in done.stderr
    for words in (["--pattern-for", "x"], ["--pattern-for", "*=2;4"]):
        done = maskgap(
            "prune", TOY, "--solver", "wanda", "-p", "50%", *words, "--out", tmp_path / "o"
        )
        assert done.returncode == 2
        assert len([line for line in done.stderr.splitlines() if "maskgap: " in line]) == 1
