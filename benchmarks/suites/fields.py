"""Types of a suite's fields: what a file of somebody else may say, and no more."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from maskgap.instances.formats.printable import visible

H = TypeVar("H", bound=Hashable)


def _seen(text: str) -> str:
    if not text.strip() or visible(text) != text:
        raise ValueError("expected a text on one line, without control characters")
    return text


def _folder_name(text: str) -> str:
    if not text[:1].isalnum() or not all(c.isalnum() or c in " ._-+" for c in text):
        raise ValueError(
            "expected letters, digits, '.', '_', '-', '+' and blanks, the first no sign: a "
            "folder is named so"
        )
    return text


def _beside(text: str) -> str:
    if Path(text).is_absolute() or ".." in Path(text).parts:
        raise ValueError(f"'{text}' leads out of the folder of the suite; put the file there")
    return text


def _setting(value: object) -> object:
    if not isinstance(value, bool | int | float | str):
        raise ValueError("expected a number, a text, true or false")
    return value


def distinct(values: Sequence[H]) -> Sequence[H]:
    """The same values. Raises ValueError when one is there twice."""
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"'{value}' is there twice")
    return values


def inside_folder(folder: Path, name: str) -> Path:
    """The path of a file in a folder. Raises ValueError when links lead out of it."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path}: a link out of the folder of the suite; put the file there")
    return path


Text = Annotated[str, AfterValidator(_seen)]
FolderName = Annotated[str, Field(max_length=100), AfterValidator(_folder_name)]
Setting = Annotated[object, BeforeValidator(_setting)]

Beside = Annotated[Text, AfterValidator(_beside)]
"""A file in the folder of the suite, or below it."""
