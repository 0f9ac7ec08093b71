"""Whether a tokenizer can be a model's, by the sizes of their vocabularies."""

from typing import Any

from torch import nn


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
