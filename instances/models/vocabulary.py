"""Whether a tokenizer can be a model's, by the sizes of their vocabularies."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

NAMES = ("token", "vocab", "merges", "spiece", "sentencepiece")


def tokenizer_files(folder: Path) -> Iterator[Path]:
    """The files of a checkpoint that a tokenizer is made of, by their usual names."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and any(name in path.name for name in NAMES):
            yield path


def embedded_tokens(model: nn.Module) -> int | None:
    """Tokens that a model has embeddings of; None where it has no table of them."""
    try:
        table = getattr(model, "get_input_embeddings", lambda: None)()
    except NotImplementedError:
        return None
    return table.num_embeddings if isinstance(table, nn.Embedding) else None


def mismatch(tokenizer: Any, model: nn.Module) -> str | None:
    """Why a tokenizer cannot be the model's; None when it can.

    transformers makes an empty one where the files of the vocabulary are missing. Tables of
    embeddings are often padded, but never with as many tokens as they have.
    """
    rows = embedded_tokens(model)
    if rows is None:
        return None
    known = set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)
    if 2 * len(known) >= rows:
        return None
    return (
        f"its tokenizer knows {len(known)} of the model's {rows} tokens (its files are missing or "
        "another model's)"
    )
