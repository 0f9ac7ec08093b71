"""A checkpoint in shards, in half precision and with tied embeddings, pruned and read back."""

import pytest
import torch

from maskgap.benchmarks.models.masks import Solved
from maskgap.benchmarks.models.prune import Source, prune_model
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.instances.models.load import load_model, quiet
from tests.helpers.checkpoints import WORDS, llama, tokenizer

pytest.importorskip("transformers", reason="transformers is absent: pip install it")


def test_a_sharded_half_precision_checkpoint_with_tied_embeddings(tmp_path):
    import transformers

    folder, out = tmp_path / "model", tmp_path / "out"
    llama(folder, tie_word_embeddings=True, num_hidden_layers=3)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).bfloat16()
    with quiet():
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="1KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    tokenizer(folder)
    text = tmp_path / "text.txt"
    text.write_text(" ".join(WORDS * 30))
    loaded = load_model(str(folder))
    assert loaded.dtype == torch.bfloat16
    dense = {name: tensor.clone() for name, tensor in loaded.module.state_dict().items()}
    source = Source(data=Sampling(calibration=[text], samples=2, sequence_length=8))
    (report,) = prune_model(
        loaded, Solved("wanda", "50%", {}), out, "model.layers.2.mlp.up_proj", source=source
    )
    again = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert again.lm_head.weight is again.model.embed_tokens.weight
    changed = {n: int((t != dense[n]).sum()) for n, t in again.state_dict().items()}
    assert {n for n, count in changed.items() if count} == {"model.layers.2.mlp.up_proj.weight"}
    assert changed["model.layers.2.mlp.up_proj.weight"] == report.pruned
