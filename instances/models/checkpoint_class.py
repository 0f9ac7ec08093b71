"""The class of transformers that a checkpoint is loaded into, as its settings name it."""

from typing import Any

from maskgap.instances.errors import InputError

TRUST = "--trust-remote-code"


def refuse_kernels(name: str, config: Any, trust: bool) -> None:
    """Raise InputError when the settings of a checkpoint name code of a repository to attend by."""
    named = str(getattr(config, "_attn_implementation", ""))
    if "/" in named and not trust:
        raise InputError(
            f"{name}: its config.json asks for attention by the code of {named}, which is run only "
            f"with {TRUST}"
        )


def class_of(transformers: Any, config: Any) -> tuple[Any, bool]:
    """The class of a checkpoint, and whether it is a causal language model with its head.

    The one that its settings name if it is a model of transformers, else an automatic one.
    """
    kind = next(iter(config.architectures or ()), "")
    causal = kind.endswith(("ForCausalLM", "LMHeadModel")) or _writes_text(kind, config)
    found = getattr(transformers, kind, None) if kind.isidentifier() else None
    if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
        return found, causal
    return (transformers.AutoModelForCausalLM if causal else transformers.AutoModel), causal


def _writes_text(kind: str, config: Any) -> bool:
    """Whether a model of images or sounds and text is a causal one of its text alone."""
    text = config.get_text_config(decoder=True)
    parts = (config, text)
    return (
        kind.endswith("ForConditionalGeneration")
        and text is not config
        and not any(getattr(part, "is_encoder_decoder", False) for part in parts)
    )
