"""Texts to calibrate and to evaluate with, in two halves that have none in common.

They come from files (`.jsonl`: the key "text" of each line; any other name: one text a file) or, by
default, from the docstrings of Python's standard library, which every machine has. They are freed
of duplicates, shuffled with a fixed seed and cut into two halves; a single text is cut in its
middle.
"""

import ast
import json
import random
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from instances.errors import InputError

SHUFFLE_SEED = 0
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
    """The texts of plain-text or JSONL files, empty ones left out.

    Raises InputError naming the file and line.
    """
    texts: list[str] = []
    for path in files:
        try:
            content = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is not UTF-8 text (byte {error.start})") from None
        texts += _json_lines(path, content) if path.suffix == ".jsonl" else [content]
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise InputError(f"{', '.join(map(str, files))}: no text to calibrate with")
    return texts


def _json_lines(path: Path, content: str) -> Iterator[str]:
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise InputError(f'{path}: line {number} is not a JSON object with a string "text"')
        yield text


def split_texts(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Two halves without a text in common, in a shuffled order that the texts alone determine."""
    distinct = list(dict.fromkeys(texts))
    if len(distinct) == 1:
        words = distinct[0].split(" ")
        middle = len(words) // 2
        return [" ".join(words[:middle])], [" ".join(words[middle:])]
    random.Random(SHUFFLE_SEED).shuffle(distinct)
    middle = (len(distinct) + 1) // 2
    return distinct[:middle], distinct[middle:]
