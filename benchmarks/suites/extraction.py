"""Layers that a suite extracts from a model by itself, kept in the directory of its run.

They are extracted as `maskgap extract` does it, once: the folder that keeps them is named by what
decides them, the contents of calibration files among it, and a later run into the same directory
reads them there. The folder appears when it is complete, so a run that is killed while it extracts
leaves nothing that looks whole.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from maskgap.benchmarks.suites.fields import Beside, Text, inside_folder
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import layer_path, read_layer
from maskgap.instances.formats.gram_file import is_gram_name
from maskgap.instances.formats.inside import inside
from maskgap.instances.formats.outputs import try_directory
from maskgap.instances.layer import Layer
from maskgap.instances.sources.shipped import SUFFIX

PREFIX = "extracted:"
FOLDER = "layers"


class Extraction(BaseModel):
    """What to extract, as the options of `maskgap extract`.

    calibration: files beside the suite; none: the docstrings of Python's standard library.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Text
    layers: Text = "*"
    calibration: list[Beside] = []
    samples: Annotated[int, Field(ge=1, le=1 << 20)] = 128
    sequence_length: Annotated[int, Field(ge=1, le=1 << 20)] = 128

    def folder(self, directory: Path, beside: Path) -> Path:
        """Where the layers of a run's directory are. beside: folder of the suite.

        Raises InputError for a calibration file that cannot be read.
        """
        digest = hashlib.sha256(self.model_dump_json().encode())
        for path in self._texts(beside):
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
        return directory / FOLDER / digest.hexdigest()[:12]

    def _texts(self, beside: Path) -> list[Path]:
        try:
            return [inside_folder(beside, name) for name in self.calibration]
        except ValueError as error:
            raise InputError(str(error)) from None

    def extract(self, directory: Path, beside: Path, say: Callable[[str], None]) -> None:
        """Extract into a run's directory what is not there. Raises InputError.

        beside: folder of the suite. say: takes lines for people.
        """
        folder = self.folder(directory, beside)
        if folder.exists():
            return
        from maskgap.instances.models.extract_files import run_extract  # imports torch

        say(f"extracting {self.layers} of {self.model} into {folder}")
        inside(directory, FOLDER, folder.name, "layer")
        try_directory(folder.parent)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as unfinished:
            made = Path(unfinished) / folder.name
            run_extract(
                self.model,
                made,
                self.layers,
                self._texts(beside),
                self.samples,
                sequence_length=self.sequence_length,
                progress=say,
                held_out=True,
            )
            if not folder.exists():  # another run may have made it meanwhile
                os.rename(made, folder)

    def read(self, name: str, directory: Path, beside: Path) -> Layer:
        """An extracted layer by its name in the model. Raises InputError that lists the names."""
        folder = self.folder(directory, beside)
        path = layer_path(folder, name)
        if not path.exists():
            have = ", ".join(
                sorted(
                    p.name.removesuffix(SUFFIX)
                    for p in folder.iterdir()
                    if not is_gram_name(p.name)
                )
            )
            raise InputError(f"'{PREFIX}{name}': '{self.layers}' of {self.model} gave {have}")
        return read_layer(path)
