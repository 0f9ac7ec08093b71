"""Settings: read as their types, refused in one line, described by what checks them."""

import dataclasses
import json
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from maskgap.instances.errors import InputError
from maskgap.solvers import registry
from maskgap.solvers.settings import checked_values, described, settings
from tests.helpers.command import maskgap

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = [name for name, spec in registry.SPECS.items() if spec.missing is None]


@settings
class Mine:
    """A solver of this package."""

    strength: Annotated[int, Field(ge=1, le=9)] = 3
    """How strong,
    from weak to strong."""
    share: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    kind: Literal["soft", "hard"] = "soft"
    """Kind."""
    name: str = ""
    loud: bool = False

    def solve(self, problem, limits, seed):
        """Nothing."""


@settings
class Harder(Mine):
    """The same with another default."""

    kind: Literal["soft", "hard"] = "hard"


@dataclass(frozen=True)
class Plain:
    """One of a user's own."""

    strength: int = 3
    share: float = 0.5
    most: int | None = None
    odd: complex = 1j


def values(factory=Mine, **given):
    return checked_values("mine", factory, given)


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("strength", "5", 5),
        ("strength", " 5 ", 5),
        ("strength", 5, 5),
        ("share", "1e-3", 1e-3),
        ("share", 2, 2.0),
        ("share", "2", 2.0),
        ("kind", "hard", "hard"),
        ("name", "7", "7"),
        ("name", 7, "7"),
        ("name", "true", "true"),
        ("loud", "TRUE", True),
        ("loud", False, False),
    ],
)
def test_values_are_read_as_the_type_of_their_field(name, given, read):
    (value,) = values(**{name: given}).values()
    assert value == read
    assert type(value) is type(read)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("strength", "1.5", "a whole number from 1 to 9"),
        ("strength", 3.0, "a whole number from 1 to 9"),
        ("strength", "3.0", "a whole number from 1 to 9"),
        ("strength", True, "a whole number from 1 to 9"),
        ("strength", "0", "a whole number from 1 to 9"),
        ("strength", 10, "a whole number from 1 to 9"),
        ("strength", "nan", "a whole number from 1 to 9"),
        ("share", "lots", "a number above 0"),
        ("share", "nan", "a number above 0"),
        ("share", "inf", "a number above 0"),
        ("share", "0", "a number above 0"),
        ("share", True, "a number above 0"),
        ("kind", "Soft", "one of soft, hard"),
        ("loud", "yes", "true or false"),
        ("loud", 1, "true or false"),
    ],
)
def test_values_out_of_range_are_refused_in_one_line(name, given, expected):
    text = f"solver 'mine': setting {name}={given}: expected {expected}"
    with pytest.raises(InputError) as error:
        values(**{name: given})
    assert str(error.value) == text


def test_no_solver_is_made_with_a_setting_out_of_range():
    with pytest.raises(InputError, match=r"^Mine: strength=0: expected a whole number from 1"):
        Mine(strength=0)
    with pytest.raises(InputError, match=r"^Harder: kind=odd: expected one of soft, hard$"):
        Harder(kind="odd")
    with pytest.raises(InputError, match=r"^Mine: strange=1: expected no such setting$"):
        Mine(strange=1)
    made = Harder(strength=4)
    assert pickle.loads(pickle.dumps(made)) == made == Harder(4)
    assert dataclasses.replace(made, strength=5).strength == 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.strength = 6


def test_a_mistyped_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"no setting 'strenght'; .*; did you mean strength\?$"):
        values(strenght=1)
    with pytest.raises(InputError, match="no setting 'xyzzy'; its settings: strength, share,"):
        values(xyzzy=1)
    with pytest.raises(InputError, match=r"no solver 'swpa'; the .*; did you mean swap\?$"):
        registry.build("swpa")


def test_what_is_checked_is_what_is_described():
    strength, share, kind, name, loud = described(Mine)
    assert strength.meaning == "How strong, from weak to strong."
    assert (strength.default, strength.minimum, strength.maximum) == (3, 1, 9)
    assert (share.expects, share.meaning, share.minimum) == ("a number above 0", "", None)
    assert kind.choices == ("soft", "hard")
    assert (name.expects, loud.expects) == ("a text", "true or false")
    changed = described(Harder)
    assert changed[2].default == "hard"
    assert [s.meaning for s in changed] == [s.meaning for s in described(Mine)]


def test_a_plain_dataclass_is_checked_by_its_annotations():
    assert values(Plain, strength="4", share=1, most="7") == {
        "strength": 4, "share": 1.0, "most": 7,
    }  # fmt: skip
    with pytest.raises(InputError, match=r"strength=1.5: expected a whole number$"):
        values(Plain, strength=1.5)
    with pytest.raises(InputError, match=r"most=x: expected a whole number or none$"):
        values(Plain, most="x")
    assert [s.meaning for s in described(Plain)] == [""] * 4


@pytest.mark.parametrize("name", INSTALLED)
def test_every_setting_has_a_meaning_and_a_default_in_range(name):
    for setting in described(registry.factory_of(name)):
        assert setting.meaning.endswith("."), setting
        assert registry.build(name, {setting.name: setting.default}) == registry.build(name)
        if setting.minimum is not None:
            with pytest.raises(InputError, match=f"{setting.name}="):
                registry.build(name, {setting.name: setting.minimum - 1})
        if setting.choices:
            for choice in setting.choices:
                registry.build(name, {setting.name: choice})
            with pytest.raises(InputError, match=f"{setting.name}=nonsense: expected one of "):
                registry.build(name, {setting.name: "nonsense"})


def test_the_command_lists_settings_with_default_range_and_meaning():
    words = maskgap("solvers", "sparsefw").stdout
    assert "  fixed=0.9: a number from 0 to 1\n      The share alpha" in words
    line = json.loads(maskgap("solvers", "sparsefw", "--json").stdout)
    assert line["settings"] == {"fixed": 0.9, "iterations": 2000, "warm_start": "wanda"}
    assert line["meanings"]["iterations"] == {
        "expects": "a whole number of at least 0", "minimum": 0, "maximum": None, "choices": [],
        "meaning": "Steps T.",
    }  # fmt: skip


def test_a_list_of_names_does_without_what_checks_settings():
    script = (
        "import sys\nfrom maskgap.solvers.registry import SPECS\n"
        "assert SPECS and not {'pydantic', 'numba', 'torch'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
