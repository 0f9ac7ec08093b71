"""Texts from files in the forms that data sets come in: JSON lines, gzip, parquet, `datasets`.

A file is read as it is named: `.json`, `.jsonl`, `.ndjson` are JSON lines with a key "text",
`.parquet` a table with a column of that name (by the package pyarrow), `.gz` after any of the first
three or after another name is that, packed. So the shards of C4, `c4-train.00000-of-01024.json.gz`,
are read under their own names. A folder as `datasets` saves one (`save_to_disk`) is read by that
package. Nothing is downloaded.
"""

import gzip
import zlib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from maskgap.instances.errors import InputError, first_line
from maskgap.instances.formats.tensors import require_regular

COLUMN = "text"
PARQUET = ".parquet"
PACKED = ".gz"
SAVED = ("dataset_info.json", "dataset_dict.json")
"""Files of which a folder that `datasets` saved has one."""


def inner_suffix(path: Path) -> str:
    """The ending that says what a file is, in lower case, beneath that of its packing."""
    inner = path.with_suffix("") if path.suffix.lower() == PACKED else path
    return inner.suffix.lower()


def content_of(path: Path) -> str:
    """The text of a file, unpacked. Raises InputError for one that is no UTF-8 text."""
    require_regular(path)
    try:
        raw = path.read_bytes()
        if path.suffix.lower() == PACKED:
            raw = gzip.decompress(raw)
        content = raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not UTF-8 text (byte {error.start}); unpack or convert it"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    if "\0" in content:
        raise InputError(f"{path}: holds null characters, so it is no UTF-8 text")
    return content


def parquet_texts(path: Path) -> Iterator[str]:
    """The column "text" of a parquet file. Raises InputError without one, or without pyarrow."""
    require_regular(path)
    parquet = package("pyarrow.parquet", "pyarrow", path)
    try:
        with parquet.ParquetFile(path) as table:
            names = table.schema_arrow.names
            if COLUMN not in names:
                raise InputError(
                    f"{path}: has no column '{COLUMN}', but {', '.join(names) or 'none at all'}"
                )
            for batch in table.iter_batches(columns=[COLUMN]):
                yield from _strings(batch.column(0).to_pylist(), path)
    except InputError:
        raise
    except Exception as error:  # pyarrow has errors of its own, and raises others
        raise InputError(f"{path}: cannot be read as parquet: {first_line(error)}") from None


def saved_texts(folder: Path) -> Iterator[str]:
    """The column "text" of a data set that `datasets` saved, of all its splits."""
    if not any((folder / name).is_file() for name in SAVED):
        raise InputError(
            f"{folder}: is a folder; expected a file of texts, or a folder as the package datasets "
            "saves one (save_to_disk)"
        )
    datasets = package("datasets", "datasets", folder)
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # whatever its files make it raise
        raise InputError(f"{folder}: cannot be read by datasets: {first_line(error)}") from None
    for split in found.values() if isinstance(found, dict) else [found]:
        yield from column_of(split, folder)


def column_of(split: Any, path: Path) -> Iterator[str]:
    """The column "text" of a data set of `datasets`. path: for errors. Raises InputError."""
    if COLUMN not in split.column_names:
        raise InputError(f"{path}: has no column '{COLUMN}', but {', '.join(split.column_names)}")
    yield from _strings(split[COLUMN], path)


def package(module: str, name: str, path: Path) -> Any:
    """A module of a package that a path needs. Raises InputError where it is not installed."""
    if find_spec(name) is None:
        raise InputError(f"{path}: reading it needs {name}: pip install {name}")
    return import_module(module)


def _strings(values: Any, path: Path) -> Iterator[str]:
    for value in values:
        if not isinstance(value, str):
            raise InputError(
                f"{path}: its column '{COLUMN}' holds a {type(value).__name__}, expected strings"
            )
        yield value
