"""Layers of a model as files, one a layer, each written whole.

<layer>.safetensors     weights, and the Gram, or the name of the file that it is in
the file of a Gram      where several layers are given the same inputs
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import (
    GRAM,
    LAYER,
    layer_path,
    write_gram,
    write_layer,
    write_sharing_layer,
)
from maskgap.instances.formats.gram_file import digest_of, gram_name, shared_arrays
from maskgap.instances.formats.outputs import (
    Writes,
    check_file,
    replacing,
    try_directory,
    try_file,
)
from maskgap.instances.formats.unfinished import clear_left_behind
from maskgap.instances.layer import Layer
from maskgap.instances.models.calibration import load_calibration
from maskgap.instances.models.devices import usable_device
from maskgap.instances.models.extract import Skip, extract_sites, no_inputs, work_of
from maskgap.instances.models.few_tokens import few_tokens_told
from maskgap.instances.models.linear import Site, choose_linear
from maskgap.instances.models.load import load_model
from maskgap.instances.models.pace import Pace, batches_told
from maskgap.instances.models.passes import Running

SAMPLES = 128
SEQUENCE_LENGTH = 128


def run_extract(
    model: str,
    out: Path,
    layers: str = "*",
    calibration: Sequence[Path] = (),
    samples: int = SAMPLES,
    *,
    sequence_length: int = SEQUENCE_LENGTH,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
    trust: bool = False,
    held_out: bool = False,
) -> list[Path]:
    """Extract layers of a model into `<layer>.safetensors` files of a folder, each written whole.

    A Gram that several layers share is in one file beside them (`instances.formats.gram_file`).
    Weights are stored in float32 where the model has no more. A layer file with other contents that
    is there is set aside (`instances.formats.outputs`), any other file is left alone.

    model: `all-MiniLM-L6-v2`, a folder or cached name for transformers, or
    `package.module:callable` that returns a torch module. calibration: files of text or tensors
    (see `instances.models.calibration`); none means the docstrings of Python's standard library.
    Half of the data gives the Gram; held_out: the other half gives `gram_eval`. samples: sequences
    of each half, at most. sequence_length: tokens of a sequence, at most. device: of torch, where
    blocks run one at a time. progress: called with lines for people: how far it is, which layers
    are left out and why. trust: whether code of the checkpoint may run.

    Returns the files in the order of use. Raises InputError for every bad input.
    """
    say = progress or (lambda text: None)
    where = usable_device(device)
    loaded = load_model(model, "cpu", trust, say=say)
    data = load_calibration(loaded, calibration, samples, sequence_length)
    skip = _told_skip(say)
    chosen = choose_linear(loaded.module, layers, loaded.absent, skip)
    work = work_of(chosen)
    pace = Pace(sum(work.values()))
    _expect_room(out, chosen, calibration, say)
    meta = {"model": model, "torch": torch.__version__.partition("+")[0], **data.meta}
    written: list[Path] = []
    writes, see = Writes(), few_tokens_told(say)
    for layer in extract_sites(
        loaded.module,
        chosen,
        data.batches,
        held_out=data.held_out if held_out else None,
        meta=meta,
        on_skip=skip,
        progress=batches_told(say, pace),
        running=Running(where, out),
    ):
        path = layer_path(out, layer.name)
        see(layer)
        pace.done += work[layer.name]
        with writes.attempt():
            _write(path, layer, say)
            written.append(path)
    writes.close()
    if not written:
        raise InputError(no_inputs(layers))
    return written


def _expect_room(
    out: Path, chosen: Sequence[Site], inputs: Sequence[Path], say: Callable[[str], None]
) -> None:
    """Try the folder and the files that are to be replaced, and clear what a killed call left."""
    try_directory(out)
    if left := clear_left_behind(out):
        say(f"{out}: unfinished files of a call that was killed are taken away: {left}")
    for there in filter(Path.exists, (layer_path(out, site.name) for site in chosen)):
        try_file(there, LAYER, inputs)


def _write(path: Path, layer: Layer, say: Callable[[str], None]) -> None:
    """Write one layer file, and the Gram beside it where others share that."""
    wide = layer.meta.get("dtype") == "float64"
    weight = np.float64 if wide else np.float32
    if "shares_inputs_with" not in layer.meta:
        with replacing(path, say) as part:
            write_layer(part, layer, weight=weight)
        return
    digest = digest_of(shared_arrays(layer))
    gram = path.with_name(gram_name(digest))
    check_file(gram, GRAM)
    with replacing(gram, say) as part:
        write_gram(part, layer)
    with replacing(path, say) as part:
        write_sharing_layer(part, layer, digest, weight)


def _told_skip(say: Callable[[str], None]) -> Skip:
    return lambda name, reason: say(f"{name} is left out: {reason}")
