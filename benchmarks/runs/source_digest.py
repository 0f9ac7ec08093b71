"""The source of a user's own solver as a digest: what changes it makes another run.

    digest = sha256 of (path, bytes) of the module's file and of every file that it imports from the
             folder that it was found in, theirs included

Modules elsewhere, of installed packages and of Python, are not looked at; nor are those of maskgap,
whose version says the same. Files are parsed, not run.
"""

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

_OURS = "maskgap"


@cache
def source_digest(module: str) -> str:
    """The digest of a module's source, twelve hex digits; 'unknown' where it has no source file."""
    found = PathFinder.find_spec(module.partition(".")[0], sys.path)
    if found is None:
        return "unknown"
    if found.submodule_search_locations:
        root = Path(next(iter(found.submodule_search_locations))).parent
    elif found.origin is not None:
        root = Path(found.origin).parent
    else:
        return "unknown"
    seen: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name.partition(".")[0] == _OURS:
            continue
        path = _file(root, name)
        if path is None or (told := str(path.relative_to(root))) in seen:
            continue
        seen[told] = path.read_bytes()
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += _imported(seen[told], package)
    if not seen:
        return "unknown"
    digest = hashlib.sha256()
    for told, data in sorted(seen.items()):
        digest.update(f"{told} {len(data)} ".encode() + data)
    return digest.hexdigest()[:12]


def _file(root: Path, module: str) -> Path | None:
    """The source file of a module below a folder, None where it is elsewhere."""
    place = root.joinpath(*module.split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imported(source: bytes, package: str) -> Iterator[str]:
    """The modules that a source imports, and what may be modules among the names that it takes.

    package: the one that it is part of, '' for none. Nothing for what is not Python.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: i + 1]) for i in range(len(parts)) if parts[0])
