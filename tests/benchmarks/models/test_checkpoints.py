"""Checkpoints of others: no code of theirs runs unasked, and what is amiss is one line."""

import importlib.util
import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from maskgap.benchmarks.models.evaluate import evaluate_model
from maskgap.benchmarks.models.masks import Solved
from maskgap.benchmarks.models.prune import Source, prune_model
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.instances.errors import InputError
from maskgap.instances.models.adapters import refuse_adapters
from maskgap.instances.models.extract import extract_layers
from maskgap.instances.models.extract_files import run_extract
from maskgap.instances.models.linear import choose_linear
from maskgap.instances.models.load import LoadedModel, load_model
from maskgap.instances.models.vocabulary import tokenizer_files
from tests.helpers.checkpoints import bert, edit, llama, tokenizer
from tests.helpers.command import maskgap

pytest.importorskip("transformers", reason="transformers is absent: pip install it")


CODE = """
import os
import pathlib

pathlib.Path(os.environ["MARKER"]).touch()

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel


class OwnConfig(PretrainedConfig):
    model_type = "own-kind"


class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.l = nn.Linear(4, 4)
        self.post_init()

    def forward(self, x):
        return (self.l(x),)
"""


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A file that the code of a checkpoint makes when it is run."""
    path = tmp_path / "ran"
    monkeypatch.setenv("MARKER", str(path))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    return path


def own_code(folder):
    """A checkpoint of a class that only its own file knows."""
    folder.mkdir()
    (folder / "code.py").write_text(CODE)
    edit(folder, model_type="own-kind", architectures=["OwnModel"],
         auto_map={"AutoConfig": "code.OwnConfig", "AutoModel": "code.OwnModel"})  # fmt: skip
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("l", nn.Linear(4, 4))
    save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})


def known_kind_with_code(folder):
    bert(folder)
    (folder / "code.py").write_text(CODE)
    edit(folder, auto_map={"AutoConfig": "code.OwnConfig", "AutoModel": "code.OwnModel"})


def own_tokenizer(folder):
    bert(folder)
    (folder / "code.py").write_text(CODE)
    edit(folder, "tokenizer_config.json", tokenizer_class="OwnTokenizer",
         auto_map={"AutoTokenizer": ["code.OwnTokenizer", None]})  # fmt: skip


def own_generation(folder):
    llama(folder)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(CODE)


def pickled(folder):
    bert(folder)
    (folder / "model.safetensors").unlink()

    class Runs:
        def __reduce__(self):
            return os.system, (f"touch {os.environ['MARKER']}",)

    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"embeddings": Runs()}, file, protocol=2)  # as torch saves


def foreign_kernel(folder):
    bert(folder)
    edit(folder, attn_implementation="somebody/attention")


def adapter(folder):
    folder.mkdir()
    own_code(folder / "base")
    edit(folder, "adapter_config.json", peft_type="LORA", base_model_name_or_path="base")
    save_file({"x": torch.ones(1)}, folder / "adapter_model.safetensors")


FLAG = "which is run only with --trust-remote-code"
BROUGHT = {
    "a class": (own_code, f"its checkpoint needs code of its own, {FLAG}"),
    "a known class too": (known_kind_with_code, None),
    "a tokenizer": (own_tokenizer, None),
    "generation": (own_generation, None),
    "an adapter of it": (adapter, f"its checkpoint needs code of its own, {FLAG}"),
    "a pickle": (pickled, "its weights are pickled with more than tensors, which is never run"),
    "a kernel": (foreign_kernel, f"asks for attention by the code of somebody/attention, {FLAG}"),
}


@pytest.mark.parametrize("kind", BROUGHT)
def test_code_of_a_checkpoint_is_not_run_and_nothing_is_asked(kind, tmp_path, marker, monkeypatch):
    make, refusal = BROUGHT[kind]
    make(tmp_path / "model")

    def asked(*words):
        raise AssertionError(f"asked on stdin: {words}")

    monkeypatch.setattr("builtins.input", asked)
    if refusal is None:
        load_model(str(tmp_path / "model"))
    else:
        with pytest.raises(InputError, match=r"^[^\n]*$") as caught:
            load_model(str(tmp_path / "model"))
        assert refusal in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("words", [("extract",), ("prune", "--solver", "wanda", "-p", "50%")])
def test_an_answer_on_stdin_changes_nothing(words, tmp_path, marker):
    own_code(tmp_path / "model")
    command, *rest = words
    done = maskgap(command, tmp_path / "model", "--out", tmp_path / "out", *rest, input="y\n" * 9)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert FLAG in line
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_trusted_code_runs_and_its_model_is_pruned_and_evaluated(tmp_path, marker):
    own_code(tmp_path / "model")
    data, out = tmp_path / "x.safetensors", tmp_path / "out"
    save_file({"x": torch.randn(8, 4, generator=torch.Generator().manual_seed(0))}, data)
    given = ("--calibration", data, "--trust-remote-code")
    done = maskgap("prune", tmp_path / "model", "--solver", "wanda", "-p", "50%", "--out", out,
                   *given, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    layer, total = map(json.loads, done.stdout.splitlines())
    assert (layer["layer"], total["total"], total["pruned"]) == ("l", True, 8)
    assert marker.exists()
    assert (load_file(out / "model.safetensors")["l.weight"] == 0).sum() == 8
    done = maskgap("evaluate", out, "--against", tmp_path / "model", "--json", *given)
    assert done.returncode == 0, done.stderr
    layer, _ = map(json.loads, done.stdout.splitlines())
    assert (layer["layer"], layer["sparsity"]) == ("l", 0.5)
    done = maskgap("evaluate", out, "--against", out, "--calibration", data)
    assert done.returncode == 2
    assert FLAG in done.stderr


def test_a_tokenizer_that_is_code_is_named_when_texts_need_it(tmp_path, marker):
    own_tokenizer(tmp_path / "model")
    with pytest.raises(InputError, match="its tokenizer is code of the checkpoint, run only with"):
        run_extract(str(tmp_path / "model"), tmp_path / "out")
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["AutoModel", "pipeline", "Trainer", "not a name", "BertConfig"])
def test_a_class_that_is_no_model_of_transformers_is_never_used(kind, tmp_path):
    bert(tmp_path / "model")
    edit(tmp_path / "model", architectures=[kind])
    assert type(load_model(str(tmp_path / "model")).module).__name__ == "BertModel"


# Tokenizers


@pytest.mark.parametrize("kind", ["Bert", "GPT2", "MPNet", "OpenAIGPT", "Llama", "Roberta", "T5"])
def test_a_checkpoint_without_tokenizer_files_has_no_tokenizer(kind, tmp_path):
    import transformers

    torch.manual_seed(0)
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    sizes |= {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"n_embd": 8, "n_layer": 1, "n_head": 2, "intermediate_size": 8}
    config = getattr(transformers, f"{kind}Config")(vocab_size=150, **sizes)
    name = {"GPT2": "GPT2LMHeadModel", "OpenAIGPT": "OpenAIGPTLMHeadModel",
            "Llama": "LlamaForCausalLM"}.get(kind, f"{kind}Model")  # fmt: skip
    getattr(transformers, name)(config).save_pretrained(tmp_path / "model")
    loaded = load_model(str(tmp_path / "model"))
    assert loaded.tokenizer is None
    with pytest.raises(InputError, match=r"(no tokenizer|tokenizer knows).*needs calibration ten"):
        run_extract(str(tmp_path / "model"), tmp_path / "out", sequence_length=16)


TEXT = "the cat sat on a mat and ran to the hat " * 30


@pytest.mark.parametrize(
    ("rows", "size", "text", "message"),
    [
        (60, 60, "der Hund lief weg und kam nie " * 30, "100% of its tokens are unknown"),
        (60, 60, "the cat sat on a Matte " * 30, None),
        (60, 60, "the cat sat Hund " * 30, r"2[4-6]% of its tokens are unknown"),
        (56, 30, TEXT, None),
        (60, 30, TEXT, "its tokenizer knows 28 of the model's 60 tokens"),
        (8, 60, TEXT, r"gives token \d+, but the model has 8; the tokenizer is another model's"),
    ],
)
def test_the_vocabulary_is_the_models_and_the_text_its_language(
    rows, size, text, message, tmp_path
):
    folder, file = tmp_path / "model", tmp_path / "a.txt"
    bert(folder, vocab_size=rows, pad_token_id=0)
    tokenizer(folder, size=size)
    file.write_text(text)

    def extract():
        return run_extract(str(folder), tmp_path / "out", "*query", [file], 4, sequence_length=8)

    if message is None:
        assert len(extract()) == 1
        return
    with pytest.raises(InputError, match=message):
        extract()
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_cannot_be_used_is_kept_and_none_is_made_up(tmp_path):
    np.save(tmp_path / "ids.npy", np.arange(48).reshape(8, 6))
    masks, source = Solved("magnitude", "50%", {}), Source(data=Sampling([tmp_path / "ids.npy"]))
    for name in ("none", "small"):
        folder, out = tmp_path / name, tmp_path / f"{name}-pruned"
        bert(folder)
        if name == "small":
            tokenizer(folder, size=20)
        prune_model(load_model(str(folder)), masks, out, "*query", source=source)
        kept = [{p.name: p.read_bytes() for p in tokenizer_files(f)} for f in (folder, out)]
        assert kept[0] == kept[1]
        assert bool(kept[0]) == (name == "small")


def test_a_damaged_tokenizer_is_named(tmp_path):
    bert(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": 3}}')
    with pytest.raises(InputError, match="its tokenizer cannot be loaded"):
        run_extract(str(tmp_path / "model"), tmp_path / "out")
    np.save(tmp_path / "ids.npy", np.arange(24).reshape(4, 6))
    assert run_extract(str(tmp_path / "model"), tmp_path / "out", "*query", [tmp_path / "ids.npy"])


def test_perplexity_is_that_of_text_after_the_token_that_begins_it(tmp_path):
    """Twice: a model whose predictions are those of any text, but only after its first token."""
    file = tmp_path / "a.txt"
    words = [word for word in TEXT.split() if len(word) == 3]  # halves have as many words
    found = {}
    for begin in (None, "<s>"):
        folder = tmp_path / str(begin)
        llama(folder)
        tokenizer(folder, begin=begin)
        loaded = load_model(str(folder))
        size = 7 if begin else 8
        text = " ".join(words[: 8 * size])  # four windows a half, and no word more
        file.write_text(text)
        told = evaluate_model(loaded, None, Sampling([file], 4, 8))
        assert told.windows.begin == (("<s>",) if begin else ())
        assert (told.windows.count, told.windows.tokens, told.predicted) == (4, 8, 28)
        assert told.total()["windows"] == {
            "count": 4, "tokens": 8, "stride": size, "begin": told.windows.begin
        }  # fmt: skip
        ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
        held = ids[len(ids) // 2 :]
        rows = [([1] if begin else []) + held[i : i + size] for i in range(0, 4 * size, size)]
        inputs = torch.tensor(rows)
        with torch.no_grad():
            loss = float(loaded.module(input_ids=inputs, labels=inputs).loss)
        assert told.perplexity == pytest.approx(np.exp(loss), rel=1e-5)
        found[begin] = told.perplexity
    assert found[None] != found["<s>"]


# Adapters


def test_an_adapter_beside_full_weights_is_named(tmp_path):
    folder = bert(tmp_path / "model")
    edit(folder, "adapter_config.json", peft_type="LORA", base_model_name_or_path="x")
    with pytest.raises(InputError, match=r"holds an adapter .* beside full weights.*; merge it"):
        load_model(str(folder))


class Wrapped(nn.Module):
    """A layer as peft wraps it: 'lora_A' and 'lora_B' are dictionaries of linear layers."""

    adapter_layer_names = ("lora_A", "lora_B")

    def __init__(self, layer):
        super().__init__()
        self.base_layer = layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(4, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, 4, bias=False)})

    def forward(self, x):
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))


class Renamed(Wrapped):
    adapter_layer_names = ("vera_u",)

    def __init__(self, layer):
        super().__init__(layer)
        self.vera_u = self.lora_A
        del self.lora_A, self.lora_B


class Inside(nn.Linear):
    """Another library's layer, with matrices of its own."""

    def __init__(self):
        super().__init__(4, 4)
        self.lora_a, self.lora_b = nn.Linear(4, 2), nn.Linear(2, 4)


@pytest.mark.parametrize(
    "layer", [Wrapped(nn.Linear(4, 4)), Renamed(nn.Linear(4, 4)), Inside()], ids=["peft", "v", "o"]
)
def test_matrices_of_an_adapter_are_never_layers(layer):
    model = nn.Sequential(nn.Linear(4, 4), layer)
    for attempt in (
        lambda: choose_linear(model, "*", (), print),
        lambda: list(extract_layers(model, [torch.ones(1, 4)], "0")),
        lambda: evaluate_model(LoadedModel("a", model), LoadedModel("b", model)),
    ):
        with pytest.raises(InputError, match=r"^1[.\w]* is part of an adapter, .*; merge it"):
            attempt()
    refuse_adapters(model[0])


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is absent")
def test_a_model_of_peft_is_refused_and_a_merged_one_is_not():
    peft = importlib.import_module("peft")
    base = nn.Sequential()
    base.add_module("proj", nn.Linear(4, 4))
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["proj"]))
    with pytest.raises(InputError, match="is part of an adapter"):
        choose_linear(model, "*", (), print)
    assert len(choose_linear(model.merge_and_unload(), "*", (), print)) == 1
