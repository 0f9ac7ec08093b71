"""The states of batches between two blocks: in memory, or where it has no room for them, on disk.

On disk they lie one behind another in a file without a name, so that nothing is left of it when the
process ends, however it does. States that take the place of others have their room, unless they are
larger.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import psutil
import torch

from maskgap.instances.errors import InputError

SHARE_OF_MEMORY = 4
"""States take at most one part in so many of the memory that is free; more lie on disk."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where states lie in the file. offset, size, room: bytes; room: kept for those to come."""

    offset: int
    size: int
    room: int
    shape: torch.Size
    dtype: torch.dtype


class States:
    """The states of batches by number. scratch: folder of the file; None for temporary files'."""

    def __init__(self, scratch: Path | None) -> None:
        self._room = psutil.virtual_memory().available // SHARE_OF_MEMORY
        self._held: dict[int, torch.Tensor] = {}
        self._stored: dict[int, _Stored] = {}
        self._scratch = scratch
        self._file: IO[bytes] | None = None
        self._end = 0

    def put(self, number: int, states: torch.Tensor) -> None:
        """Keep the states of a batch in place of those it had. Raises InputError on a full disk."""
        own = states.to("cpu")
        if number not in self._held and (number in self._stored or own.nbytes > self._room):
            self._write(number, own)
            return
        self._room -= own.nbytes - (self._held[number].nbytes if number in self._held else 0)
        self._held[number] = own

    def get(self, number: int) -> torch.Tensor:
        """The states of a batch, which the caller may change."""
        if number in self._held:
            return self._held[number].clone()
        place, file = self._stored[number], self._opened()
        file.seek(place.offset)
        raw = np.fromfile(file, dtype=np.uint8, count=place.size)
        return torch.from_numpy(raw).view(place.dtype).reshape(place.shape)

    def close(self) -> None:
        """Let go of all of them."""
        self._held.clear()
        self._stored.clear()
        if self._file is not None:
            self._file.close()

    def _write(self, number: int, states: torch.Tensor) -> None:
        file, size = self._opened(), states.nbytes
        before = self._stored.get(number)
        if before is not None and size <= before.room:
            offset, room = before.offset, before.room
        else:
            offset, room = self._end, size
            self._end += size
        try:
            file.seek(offset)
            file.write(states.contiguous().reshape(-1).view(torch.uint8).numpy().data)
            file.flush()
        except OSError as error:
            raise self._full(error) from None
        self._stored[number] = _Stored(offset, size, room, states.shape, states.dtype)

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            try:
                self._file = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115 - see close
            except OSError as error:
                raise self._full(error) from None
        return self._file

    def _full(self, error: OSError) -> InputError:
        where = self._scratch or Path(tempfile.gettempdir())
        return InputError(
            f"{where}: does not take the states of blocks, for which memory has no room "
            f"({error.strerror}); make room there, or give fewer --samples"
        )
