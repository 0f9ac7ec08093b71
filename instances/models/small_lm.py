"""A small causal language model, trained in minutes.

    python -m maskgap.instances.models.small_lm --out DIR

A GPT-2 of about 1.4 million parameters, whose layers are Conv1D (stored transposed), with a
byte-level BPE tokenizer, both trained on the first half of the docstrings of Python's standard
library: the half that `maskgap extract` and `prune` calibrate on by default. The other half, which
`maskgap evaluate` measures on, it never sees. A seed, a Python version and a torch build give the
same model up to rounding.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from math import cos, pi
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from maskgap.instances.errors import InputError
from maskgap.instances.models.load import INSTALL, quiet
from maskgap.instances.models.texts import split_texts, standard_library_docstrings

VOCABULARY = 1024
LENGTH = 128
WIDTH = 160
HEADS = 5
BLOCKS = 4

STEPS = 700
BATCH = 16
LEARNING_RATE = 2e-3
WARM_UP = 50
WEIGHT_DECAY = 0.1
CLIP = 1.0
DROPOUT = 0.1

END = "<|endoftext|>"
SAY_EVERY = 50

Say = Callable[[str], None]


def train(out: Path, steps: int = STEPS, seed: int = 0, say: Say = lambda text: None) -> Path:
    """Train the model and save it and its tokenizer as transformers does; returns the folder.

    steps: of BATCH windows of LENGTH tokens. The state of torch's random numbers is left as it was.
    Raises InputError when transformers or the texts are not installed, or the folder is not empty.
    """
    for module in ("transformers", "tokenizers"):
        if find_spec(module) is None:
            raise InputError(f"training the small language model needs {module}: {INSTALL}")
    if steps < 1 or seed < 0:
        raise InputError(f"steps ({steps}) must be 1 or more, and the seed ({seed}) 0 or more")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already; move it away or choose another --out")
    texts = split_texts(standard_library_docstrings())[0]
    tokenizer = _tokenizer(texts)
    stream = torch.tensor(tokenizer("\n\n".join(texts), verbose=False)["input_ids"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(len(tokenizer))
        size = sum(p.numel() for p in model.parameters())
        say(f"{size} parameters, {len(stream)} tokens of text, {steps} steps")
        _descend(model, stream, steps, say)
    with quiet():
        model.eval().save_pretrained(out)
        tokenizer.save_pretrained(out)
    return out


def _tokenizer(texts: Sequence[str]) -> Any:
    tokenizers: Any = import_module("tokenizers")
    transformers: Any = import_module("transformers")
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = byte_level(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=END, eos_token=END, model_max_length=LENGTH
    )


def _model(vocabulary: int) -> Any:
    transformers: Any = import_module("transformers")
    config = transformers.GPT2Config(
        vocab_size=vocabulary,
        n_positions=LENGTH,
        n_embd=WIDTH,
        n_layer=BLOCKS,
        n_head=HEADS,
        bos_token_id=0,
        eos_token_id=0,
        resid_pdrop=DROPOUT,
        embd_pdrop=DROPOUT,
        attn_pdrop=DROPOUT,
    )
    return transformers.GPT2LMHeadModel(config)


def _descend(model: Any, stream: torch.Tensor, steps: int, say: Say) -> None:
    """AdamW with a warm-up and a cosine to a tenth of the learning rate."""
    optimizer = torch.optim.AdamW(
        model.parameters(), LEARNING_RATE, betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY
    )
    model.train()
    begun = time.monotonic()
    for step in range(1, steps + 1):
        share = min(1.0, step / WARM_UP) * (0.55 + 0.45 * cos(pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * share
        starts = torch.randint(len(stream) - LENGTH, (BATCH,)).tolist()
        ids = torch.stack([stream[start : start + LENGTH] for start in starts])
        logits = model(input_ids=ids).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        torch.autograd.backward([loss])
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        if step % SAY_EVERY == 0 or step == steps:
            seconds = time.monotonic() - begun
            say(f"step {step} of {steps}: loss {loss.item():.3f}, {seconds:.0f} s")


def main(words: Sequence[str] | None = None) -> None:
    """Train the model into the folder named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m maskgap.instances.models.small_lm",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(words)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        print(train(chosen.out, chosen.steps, chosen.seed, say))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
