"""The documents: the quickstart runs as it is printed, links lead somewhere, paths are there."""

import re
import shlex
import string

import pytest

from tests.helpers.command import ROOT, maskgap, python

PAGES = sorted(
    path.relative_to(ROOT)
    for folder in (".", "instances", "solvers", "benchmarks", "results/reference")
    for path in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md")
)
MODULES = sorted(
    path.relative_to(ROOT)
    for floor in ("instances", "solvers", "benchmarks")
    for path in (ROOT / floor).rglob("*.py")
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
FLOORS = r"(?:instances|solvers|benchmarks|tests|results/reference)"


def _plain(text):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def _anchor(heading):
    """The anchor of a heading, as GitHub makes it."""
    kept = set(string.ascii_lowercase + string.digits + "-_ ")
    return "".join(c for c in heading.strip().lower() if c in kept).replace(" ", "-")


def test_the_readme_is_short_with_one_table_and_one_figure():
    assert len(README.splitlines()) <= 200
    assert README.count("<!-- reference:") == 2
    assert len(re.findall(r"!\[|<img ", README)) == 1


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    text = _plain((ROOT / page).read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    for target in targets:
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / page).parent / path if path else ROOT / page
        assert there.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(_anchor, headings), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_paths_that_a_page_names_are_there(page):
    """From the root, or from the page's own folder. The changelog tells of what was."""
    if page.name == "CHANGELOG.md":
        return
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(rf"`({FLOORS}/[\w/.-]+)`", text):
        assert (ROOT / name).exists() or (ROOT / page.parent / name).exists(), f"{page}: {name}"
    for module in re.findall(r"python -m (maskgap[\w.]*)", text):
        place = ROOT / ".src" / module.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module


@pytest.mark.parametrize(
    "path",
    sorted(p for f in ("instances", "solvers", "benchmarks") for p in (ROOT / f).rglob("*.py")),
)
def test_modules_that_a_docstring_names_are_there(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    for name in re.findall(r"`((?:instances|solvers|benchmarks)(?:\.\w+)+)`", text):
        parts = name.split(".")
        found = [
            ROOT.joinpath(*parts[:n]) for n in (len(parts), len(parts) - 1, len(parts) - 2) if n > 1
        ]
        assert any(p.with_suffix(".py").exists() or p.is_dir() for p in found), name
    for name in re.findall(rf"\b({FLOORS}/[\w/-]+\.(?:py|md|toml))\b", text):
        assert (ROOT / name).exists(), name


@pytest.mark.timeout(600)
def test_the_quickstart_runs_as_it_is_printed(tmp_path):
    blocks = re.findall(r"^```(python|sh)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert [language for language, _ in blocks] == ["python", "sh", "python", "sh"]
    script = ""
    for language, text in blocks:
        if language == "python":
            script += text
            shown = python(script, cwd=tmp_path, timeout=120).stdout
            continue
        for line in text.splitlines():
            command, *words = shlex.split(line)
            assert command == "maskgap"
            maskgap(*words, code=0, cwd=tmp_path, timeout=120)
    certificate, total, checked = shown.splitlines()
    assert certificate.startswith("Certificate(objective")
    assert "proved" in certificate
    assert total.startswith("Total(objective")
    assert checked.startswith("ProofVerdict(holds, rows 0:")
