"""Texts to calibrate and to evaluate with, in two halves that have none in common.

They come from files or, by default, from the docstrings of Python's standard library, which every
machine has. A file is JSON lines, the key "text" of each line, when its name ends in .json, .jsonl
or .ndjson (and .gz) or it begins with a JSON object that has a text; a parquet file or a folder of
the package datasets has a column "text" (`instances.models.packed_texts`), as has a data set that
it knows by name (`instances.models.named_texts`); any other file, in UTF-8, is one text.
Texts are freed of duplicates, shuffled with a fixed seed and cut into two halves; a single text is
cut in its middle.
"""

import ast
import json
import random
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from maskgap.instances.errors import InputError
from maskgap.instances.models.named_texts import is_named, named_texts
from maskgap.instances.models.packed_texts import (
    PARQUET,
    content_of,
    inner_suffix,
    parquet_texts,
    saved_texts,
)

SHUFFLE_SEED = 0
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")

SHORTEST_DOCSTRING = 200
"""Characters; shorter docstrings are mostly one line of a few words."""

NOT_EVERYWHERE = {"distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtledemo"}
"""Parts of the standard library that some systems package apart or leave out."""


def standard_library_docstrings() -> list[str]:
    """Docstrings of the modules, classes and functions of Python's standard library, in file order.

    Tests are left out, and what not every system installs. The texts depend on the Python version
    alone. Raises InputError where the sources are not installed.
    """
    root = Path(sysconfig.get_path("stdlib"))
    modules = sys.stdlib_module_names - NOT_EVERYWHERE
    texts: list[str] = []
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[0] not in modules or not {"test", "tests"}.isdisjoint(parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, OSError):
            continue  # samples of older Python
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                if len(text) >= SHORTEST_DOCSTRING:
                    texts.append(text)
    if not texts:
        raise InputError(
            f"the sources of Python's standard library are not under {root}; "
            "name calibration files instead"
        )
    return texts


def file_texts(files: Sequence[Path]) -> list[str]:
    """The texts of files, empty ones left out. Raises InputError naming the file and line."""
    texts: list[str] = []
    for path in files:
        texts += _texts_of(path)
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise InputError(f"{', '.join(map(str, files))}: no text to calibrate with")
    return texts


def _texts_of(path: Path) -> Iterable[str]:
    if is_named(path):
        return named_texts(path)
    if path.is_dir():
        return saved_texts(path)
    if path.suffix.lower() == PARQUET:
        return parquet_texts(path)
    content = content_of(path)
    return _json_lines(path, content) if _is_json_lines(path, content) else [content]


def _is_json_lines(path: Path, content: str) -> bool:
    first = content.lstrip().partition("\n")[0]
    return inner_suffix(path) in JSON_SUFFIXES or (
        first.startswith("{") and isinstance(_text_of(first), str)
    )


def _json_lines(path: Path, content: str) -> Iterator[str]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        text = _text_of(line)
        if not isinstance(text, str):
            raise InputError(
                f'{path}: line {number} is not a JSON object with a string "text"; a file of one '
                "raw text has another name, such as .txt"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{path}: the text of line {number} has half a surrogate pair at character "
                f"{error.start}, which no Unicode text has; mend or leave out the line"
            ) from None
        yield text


def _text_of(line: str) -> object:
    """The key "text" of a JSON object; None for anything else."""
    try:
        return json.loads(line)["text"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def split_texts(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Two halves without a text in common, in a shuffled order that the texts alone determine."""
    distinct = list(dict.fromkeys(texts))
    if len(distinct) == 1:
        middle = _middle(distinct[0])
        return [distinct[0][:middle].rstrip()], [distinct[0][middle:].lstrip()]
    random.Random(SHUFFLE_SEED).shuffle(distinct)
    middle = (len(distinct) + 1) // 2
    return distinct[:middle], distinct[middle:]


def _middle(text: str) -> int:
    """The blank nearest to the middle of a text, unless it is far: then the middle itself."""
    middle, reach = len(text) // 2, (len(text) + 3) // 4
    before = re.compile(r"\s(?=\S*$)").search(text, middle - reach, middle + 1)
    after = re.compile(r"\s").search(text, middle, middle + reach)
    places = [found.start() for found in (before, after) if found]
    return min(places, key=lambda place: abs(place - middle), default=middle)
