"""Whole evaluations of models, in this process and by the command; what cannot be evaluated."""

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from maskgap.benchmarks.commands import cli
from maskgap.benchmarks.models import outputs
from maskgap.benchmarks.models.evaluate import (
    HeldOut,
    evaluate_model,
    held_out_data,
    measure,
    render,
)
from maskgap.benchmarks.models.fidelity import Likelihood
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.instances.errors import InputError
from maskgap.instances.models.load import LoadedModel, load_model

UNIFORM = torch.zeros(4)
SURE = torch.tensor([0.0, math.log(3.0), 0.0, 0.0])  # probabilities 1/6, 1/2, 1/6, 1/6


# Logits in slices


@pytest.mark.parametrize(
    "kind", ["LlamaForCausalLM", "Gemma2ForCausalLM", "GPT2LMHeadModel", "OPTForCausalLM"]
)
def test_slices_give_the_logits_of_the_whole_batch(kind, monkeypatch):
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    torch.manual_seed(0)
    cls = getattr(transformers, kind)
    sizes = {"vocab_size": 24, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    more = {
        "Gemma2ForCausalLM": {
            "final_logit_softcapping": 0.5,
            "head_dim": 4,
            "num_key_value_heads": 1,
        },
        "OPTForCausalLM": {"word_embed_proj_dim": 8, "ffn_dim": 8, "max_position_embeddings": 16},
    }
    module = cls(cls.config_class(**sizes, **more.get(kind, {})))
    if kind == "Gemma2ForCausalLM":  # the cap must matter
        module.lm_head.weight.data.mul_(50)
    loaded = LoadedModel("m", module.eval(), pretrained=True, causal=True)
    ids = torch.arange(3 * 7).reshape(3, 7)
    mask = torch.ones(3, 7, dtype=torch.int64)
    mask[1, 5:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    with torch.no_grad():
        made = module(**batch, output_hidden_states=True)
    monkeypatch.setattr(outputs, "SLICE_BYTES", 3 * 4 * 24 * 2)  # two positions at a time
    computed = []
    module.get_input_embeddings().register_forward_hook(lambda *_: computed.append(None))
    with torch.no_grad():
        found = outputs.outputs_of(loaded, batch, 1)
        parts = list(found.parts)
    assert [part.start for part in parts] == [0, 2, 4, 6]
    torch.testing.assert_close(torch.cat([p.output for p in parts], dim=1), made.logits)
    torch.testing.assert_close(found.hidden, made.hidden_states[-1])
    rows = torch.cat([part.rows() for part in parts])
    assert len(rows) == 19
    whole, sliced = Likelihood(), Likelihood()
    whole.add(made.logits, ids, mask != 0)
    for part in parts:
        sliced.add(part.output, ids, part.real, part.start)
    assert (sliced.predicted, sliced.perplexity) == (16, pytest.approx(whole.perplexity, rel=1e-6))
    assert not any("forward" in vars(part) for part in module.modules())
    assert len(computed) == 1


def test_a_causal_model_without_positions_runs_a_sequence_at_a_time(ids):
    model = bigram(torch.stack([SURE, UNIFORM, UNIFORM, UNIFORM]))
    batch = {"input_ids": torch.tensor([[0, 1, 2], [3, 0, 0]]), "note": "kept"}
    parts = list(outputs.whole_sequences(model, batch))
    assert [part["input_ids"].tolist() for part in parts] == [[[0, 1, 2]], [[3, 0, 0]]]
    assert [part["note"] for part in parts] == ["kept"] * 2


# Whole evaluations


class Bigram(nn.Module):
    """A language model by a table of logits, as a linear layer of one-hot tokens."""

    def __init__(self, logits):
        super().__init__()
        self.table = nn.Linear(4, 4, bias=False)
        with torch.no_grad():
            self.table.weight.copy_(logits.T)

    def forward(self, input_ids, output_hidden_states=True):
        return {"loss": None, "logits": self.table(torch.eye(4)[input_ids])}


@pytest.fixture
def ids(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "ids.safetensors"
    save_file({"input_ids": torch.tensor([[0, 0, 0], [1, 1, 1], [0, 1, 2], [3, 0, 0]])}, path)
    return path


def bigram(logits, name="pruned"):
    return LoadedModel(name, Bigram(logits), pretrained=True, causal=True)


def test_a_language_model_against_the_dense_one(ids):
    dense = torch.stack([SURE, UNIFORM, UNIFORM, UNIFORM])
    found = evaluate_model(bigram(0 * dense), bigram(dense, "dense"), Sampling([ids]))
    assert found.perplexity == pytest.approx(4.0, rel=1e-6)
    assert found.perplexity_dense == pytest.approx(192 ** (1 / 4), rel=1e-6)
    assert (found.sequences, found.tokens, found.predicted) == (2, 6, 4)
    once = 0.5 * math.log(2) + 3 / 6 * math.log(4 / 6)
    assert found.kl == pytest.approx(3 * once / 6, rel=1e-5)  # three tokens are 0
    assert found.output_error == 1.0
    assert found.agreement == 0.5  # the first of equal ones, and 1 after each of the three 0
    (layer,) = found.layers
    assert layer.error == pytest.approx(3 * math.log(3) ** 2, rel=1e-6)
    assert layer.line()["relative_error"] == 1.0
    assert layer.line()["sparsity"] == 1.0
    assert "| perplexity " in render(found)
    alone = evaluate_model(bigram(dense), None, Sampling([ids]))
    assert alone.perplexity == found.perplexity_dense
    assert (alone.kl, alone.output_error, alone.against) == (None, None, None)


def test_a_model_against_itself(ids):
    dense = torch.stack([SURE, UNIFORM, UNIFORM, UNIFORM])
    found = evaluate_model(bigram(dense), bigram(dense), Sampling([ids]))
    assert (found.kl, found.output_error, list(found.layers)) == (0.0, 0.0, [])
    assert found.perplexity == found.perplexity_dense
    assert "no layer differs" in render(found)


def test_an_infinite_perplexity_is_null_in_json(ids):
    hopeless = torch.full((4, 4), -1e5).fill_diagonal_(1e5)
    total = evaluate_model(bigram(hopeless), None, Sampling([ids])).total()
    assert total["perplexity"] is None
    json.dumps(total, allow_nan=False)


def test_outputs_that_are_not_finite_are_an_error(ids):
    broken = torch.full((4, 4), float("nan"))
    with pytest.raises(InputError, match="pruned: its outputs on batch 1 are not finite"):
        evaluate_model(bigram(broken), None, Sampling([ids]))


def test_other_layers_and_models_with_nothing_to_say_are_refused(tmp_path, ids):
    data = tmp_path / "x.npy"
    np.save(data, np.ones((2, 3), dtype=np.float32))
    one, other = (LoadedModel(f"d_out={d}", nn.Linear(3, d)) for d in (2, 4))
    with pytest.raises(InputError, match=r"linear: \(2, 3\) and \(4, 3\)"):
        evaluate_model(one, other, Sampling([data]))
    with pytest.raises(InputError, match="name that by --against"):
        evaluate_model(one, None, Sampling([data]))
    stack = LoadedModel("stack", nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(InputError, match=r"0: absent and \(2, 3\)"):
        evaluate_model(one, stack, Sampling([data]))


def test_models_are_evaluated_in_evaluation_mode_and_left_as_they_were():
    model = LoadedModel("m", nn.Sequential(nn.Dropout(0.9), nn.Linear(3, 2)).train())
    found = measure(model, model, HeldOut([torch.ones(2, 3)], "ones"))
    assert found.output_error == 0.0  # two passes with dropout would differ
    assert model.module[0].training


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Tiny models of transformers by kind, dense, with ids."""
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    common = {"vocab_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = transformers.BertConfig(
        hidden_size=8, intermediate_size=8, max_position_embeddings=16, **common
    )
    transformers.BertModel(bert).save_pretrained(folder / "bert")
    llama = transformers.LlamaConfig(
        hidden_size=8, intermediate_size=8, num_key_value_heads=1, **common
    )
    transformers.LlamaForCausalLM(llama).to(torch.bfloat16).save_pretrained(folder / "llama")
    np.save(folder / "ids.npy", np.random.default_rng(0).integers(0, 16, size=(8, 6)))
    return folder


def command(capsys, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["maskgap", *map(str, words)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code, capsys.readouterr()


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_the_command_on_pruned_models_of_transformers(kind, tiny, tmp_path, capsys, monkeypatch):
    dense, data, out = tiny / kind, tiny / "ids.npy", tmp_path / "out"
    code, _ = command(capsys, monkeypatch, "prune", dense, "--solver", "wanda", "-p", "50%",
                      "--calibration", data, "--out", out)  # fmt: skip
    assert code == 0
    words = ("evaluate", out, "--against", dense, "--calibration", data)
    code, told = command(capsys, monkeypatch, *words, "--json")
    assert code == 0
    *layers, total = [json.loads(line) for line in told.out.splitlines()]
    assert all(layer["sparsity"] == 0.5 for layer in layers)
    assert total["total"] is True
    assert total["layers"] == len(layers) > 0
    assert (total["sequences"], total["tokens"]) == (4, 24)
    assert 0 < total["hidden_error"] < 2
    if kind == "bert":
        assert total["perplexity"] is None
        assert total["embeddings"]["texts"] == 4
        assert -1 <= total["embeddings"]["spearman"] <= total["embeddings"]["cosine"] + 2
    else:
        assert total["embeddings"] is None
        assert "lm_head" not in {layer["layer"] for layer in layers}  # left out unless named
        assert total["predicted"] == 20
        assert total["kl"] > 0
        transformers = sys.modules["transformers"]
        model = transformers.LlamaForCausalLM.from_pretrained(out, dtype="auto")
        ids = torch.from_numpy(np.load(data)[4:])
        with torch.no_grad():
            loss = float(model(input_ids=ids, labels=ids).loss)
        assert total["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    code, told = command(capsys, monkeypatch, *words)
    assert code == 0
    assert f"| all {len(layers)}" in told.out


def test_a_model_of_images_and_text_is_evaluated_by_its_text(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    torch.manual_seed(0)
    text = {
        "vocab_size": 16, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
        "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    sight = {
        "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 8, "patch_size": 4,
    }  # fmt: skip
    config = transformers.Gemma3Config(
        text_config=text, vision_config=sight, mm_tokens_per_image=4, image_token_index=15,
        boi_token_index=13, eoi_token_index=14,
    )  # fmt: skip
    transformers.Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path / "m")
    model = load_model(str(tmp_path / "m"))
    assert (model.causal, model.max_length) == (True, 32)
    ids = np.random.default_rng(0).integers(3, 12, size=(4, 6))
    np.save(tmp_path / "ids.npy", ids)
    found = evaluate_model(model, None, Sampling([tmp_path / "ids.npy"]))
    with torch.no_grad():
        logits = model.module(input_ids=torch.from_numpy(ids[2:])).logits
    losses = nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, 16).float(), torch.from_numpy(ids[2:, 1:]).reshape(-1)
    )
    assert found.perplexity == pytest.approx(math.exp(float(losses)), rel=1e-4)
    assert found.predicted == 10


def test_bad_input_is_one_line(tiny, capsys, monkeypatch):
    for words, message in [
        ([tiny / "bert", "--calibration", tiny / "ids.npy"], "name that by --against"),
        ([tiny / "llama"], "has no tokenizer"),
        ([tiny / "llama", "--samples", "0"], "--samples 0"),
        ([tiny / "nothing"], "not in transformers' local cache"),
        ([tiny / "llama", "--against", tiny / "bert", "--calibration", tiny / "ids.npy"],
         "have other layers"),
    ]:  # fmt: skip
        code, told = command(capsys, monkeypatch, "evaluate", *words)
        lines = [line for line in told.err.splitlines() if line.startswith("maskgap: ")]
        assert code == 2
        assert len(lines) == 1
        assert message in lines[0]


def test_the_dense_model_is_run_once_and_gives_the_same(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=3,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    dense, other = (transformers.LlamaForCausalLM(config) for _ in range(2))
    other.load_state_dict(dense.state_dict())
    with torch.no_grad():
        other.model.layers[1].mlp.up_proj.weight[:, ::2] = 0
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(0, 16, size=(32, 6)))
    models = [LoadedModel("m", module, pretrained=True, causal=True) for module in (other, dense)]
    data = Sampling([tmp_path / "ids.npy"])
    held_out = held_out_data(models[1], data)
    alone = measure(*models, held_out)
    computed = dict.fromkeys(dense.model.layers, 0)
    for block in computed:
        block.mlp.register_forward_hook(lambda *_, block=block: computed.update({
            block: computed[block] + 1
        }))  # fmt: skip
    found = evaluate_model(*models, data)
    looks = 2  # of the first batch, whether blocks can be run one at a time
    assert list(computed.values()) == [len(held_out.batches) + looks] * 3
    assert [layer.layer for layer in found.layers] == ["model.layers.1.mlp.up_proj"]
    assert replace(found, layers=()) == replace(alone, layers=())


def test_an_encoder_with_padding_gives_what_single_texts_give(tiny):
    model = load_model(str(tiny / "bert"))
    ids = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8], [9, 1, 2, 3]])
    lengths = [4, 2, 3]
    alone = [{"input_ids": row[None, :n]} for row, n in zip(ids, lengths, strict=True)]
    mask = torch.tensor([[int(j < n) for j in range(4)] for n in lengths])
    other = load_model(str(tiny / "bert"))
    with torch.no_grad():
        other.module.encoder.layer[0].output.dense.weight.mul_(0.5)
    one = measure(other, model, HeldOut(alone, "alone"))
    together = measure(
        other, model, HeldOut([{"input_ids": ids, "attention_mask": mask}], "together")
    )
    assert one.tokens == together.tokens == 9
    assert one.hidden_error == pytest.approx(together.hidden_error, rel=1e-4)
    for name in ("texts", "cosine", "pearson", "spearman"):
        assert one.embeddings[name] == pytest.approx(together.embeddings[name], rel=1e-4)
