"""Tiny checkpoints of transformers, whole or with something amiss, for the tests of models."""

import json

import torch

WIDTHS = {
    "vocab_size": 60,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "ran", "to", "hat"]


def bert(folder, **changes):
    """A BertModel whose vocabulary has 60 tokens; no tokenizer."""
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(**{**WIDTHS, "max_position_embeddings": 32, **changes})
    return _saved(transformers.BertModel(config), folder)


def llama(folder, **changes):
    """A causal model whose vocabulary has 60 tokens; no tokenizer."""
    import transformers

    torch.manual_seed(0)
    own = {"num_key_value_heads": 1, "max_position_embeddings": 32}
    return _saved(
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**WIDTHS, **own, **changes})),
        folder,
    )


def _saved(model, folder):
    from maskgap.instances.models.load import quiet

    with quiet():
        model.save_pretrained(folder)
    return folder


def tokenizer(folder, words=WORDS, size=60, begin=None):
    """Save a tokenizer of words, filled up to `size` tokens; `begin` begins each sequence."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    names = ["<unk>", "<s>", *words]
    names += [f"filler{i}" for i in range(size - len(names))]
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if begin:
        made.post_processor = processors.TemplateProcessing(f"{begin} $A", None, [(begin, 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>"
    ).save_pretrained(folder)


def edit(folder, file="config.json", **changes):
    """Change keys of a JSON file of a checkpoint."""
    path = folder / file
    settings = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**settings, **changes}))
