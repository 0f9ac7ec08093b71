"""Pruning a model in memory: what the command does, in place, with nothing written."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import maskgap
from maskgap.benchmarks.models.masks import Solved
from maskgap.benchmarks.models.prune import Source, prune_model
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.instances.errors import InputError, Refused
from maskgap.instances.models.load import load_model
from tests.helpers.toys import two_layers

X = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)


@pytest.mark.parametrize("propagate", [False, True])
@pytest.mark.parametrize("objective", ["mask", "refit"])
def test_it_does_what_the_command_does(tmp_path, propagate, objective):
    model = two_layers()
    result = maskgap.prune(
        model, None, [torch.from_numpy(X)], pattern="50%", solver="wanda",
        objective=objective, propagate=propagate,
    )  # fmt: skip
    data = tmp_path / "x.npy"
    np.save(data, np.concatenate([X, X]))
    loaded = load_model("tests.helpers.toys:two_layers")
    from maskgap.instances.objective import objective_spec

    masks = Solved("wanda", "50%", {}, objective=objective_spec(objective))
    source = Source(data=Sampling([data]), propagate=propagate)
    reports = prune_model(loaded, masks, tmp_path / "out", source=source)
    assert [r.error for r in result.reports] == [r.error for r in reports]
    for name, tensor in loaded.module.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    for layer in ("0", "1"):
        weight = model.get_submodule(layer).weight.detach().numpy()
        assert not weight[~result.masks[layer]].any()
    assert result.total["sparsity"] == 0.5


def test_layers_have_patterns_of_their_own_and_some_stay():
    model, dense = two_layers(), two_layers()
    batches = [{"input": torch.from_numpy(X)}]
    result = maskgap.prune(model, None, batches, patterns={"1": "keep=1"}, solver="magnitude")
    assert [r.pattern for r in result.reports] == ["50%", "keep=1"]
    assert result.masks["1"].sum() == 4
    model = two_layers()
    maskgap.prune(model, None, batches, exclude="1", solver="magnitude")
    assert torch.equal(model[1].weight, dense[1].weight)
    assert not torch.equal(model[0].weight, dense[0].weight)


@pytest.mark.parametrize(
    ("texts", "options", "error", "message"),
    [
        ("one text", {}, InputError, "texts is one text"),
        ([], {}, InputError, "texts is empty"),
        (["a text"], {}, InputError, "no tokenizer is given"),
        ([torch.ones(1, 4)], {"solver": "wonder"}, InputError, "no solver 'wonder'"),
        ([torch.ones(1, 4)], {"pattern": "2:3"}, InputError, "divisible"),
        ([torch.ones(1, 4)], {"sampels": 3}, InputError, "no option 'sampels'"),
        ([torch.ones(1, 4)], {"layers": "x"}, InputError, "no layer matches 'x'"),
        ([torch.ones(1, 4)], {"layers": ""}, InputError, "no layer matches ''; the model's 2"),
        ([torch.ones(1, 4)], {"layers": "0, x"}, InputError, "no layer matches 'x'"),
        ([torch.ones(1, 4)], {"exclude": "0,x"}, InputError, "no layer matches 'x'"),
        ([torch.ones(1, 4)], {"patterns": {"x": "2:4"}}, InputError, "no layer matches 'x'"),
        (
            [torch.ones(1, 4)],
            {"patterns": {"*": "2:4", "1": "50%"}},
            InputError,
            r"'1' is no layer's: '\*' comes before it",
        ),
        ([torch.ones(1, 4)], {"solver": "sdp-bound"}, (InputError, Refused), "gives bounds"),
    ],
)
def test_bad_input_leaves_the_model_as_it_was(texts, options, error, message):
    model = two_layers()
    with pytest.raises(error, match=message):
        maskgap.prune(model, None, texts, **options)
    assert all(torch.equal(v, two_layers().state_dict()[k]) for k, v in model.state_dict().items())


class Attending(torch.nn.Module):
    """An attention whose projections are seen by replacing one of them, then blocks."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.attention = torch.nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)
        self.blocks = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5)) for _ in range(2)
        )
        self.config = SimpleNamespace(use_cache=True)
        self.fails = False

    def forward(self, x):
        x = self.attention(x, x, x)[0]
        for block in self.blocks:
            if self.fails and len(x) == 3:
                raise ValueError("three")
            x = block(x)
        return x


@pytest.mark.parametrize("propagate", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_what_is_no_weight_of_a_model_is_as_it_was(propagate, fails):
    """Also when a forward fails in the middle: modes, flags, parameters, hooks, random numbers."""
    model = Attending()
    model.fails = fails
    model.blocks[0].eval()
    model.blocks[1][0].weight.requires_grad_(False)
    model.blocks[1][0].weight.grad = torch.ones(4, 4)
    modules = list(model.modules())

    def state():
        hooks = [(len(m._forward_pre_hooks), len(m._forward_hooks)) for m in modules]
        own = [("forward" in vars(m), m.training) for m in modules]
        flags = [(n, id(p), p.requires_grad, p.dtype) for n, p in model.named_parameters()]
        return hooks, own, flags, model.config.use_cache, torch.get_rng_state().tolist()

    before = state()
    batches = [torch.randn(n, 5, 4, generator=torch.Generator().manual_seed(n)) for n in (2, 3)]
    if fails:
        with pytest.raises(InputError, match="batch 2 of the calibration data"):
            maskgap.prune(model, None, batches, solver="wanda", propagate=propagate)
    else:
        result = maskgap.prune(model, None, batches, solver="wanda", propagate=propagate)
        assert len(result.reports) == 6
    assert state() == before
    assert bool((model.blocks[1][0].weight.grad == 1).all())


def test_texts_go_through_the_tokenizer():
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: i for i, word in enumerate(["[UNK]", "a", "b", "c", "d"])}
    own = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    own.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=own, unk_token="[UNK]")
    config = transformers.GPT2Config(
        vocab_size=5, n_positions=16, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    lines = []
    result = maskgap.prune(
        model, tokenizer, ["a b c d " * 20, "d c b a " * 20], pattern="2:4", solver="wanda",
        samples=4, sequence_length=16, progress=lines.append,
    )  # fmt: skip
    assert len(result.reports) == 8
    assert result.total["sparsity"] == 0.5
    assert any("lm_head is left out" in line for line in lines)
    weight = model.transformer.h[0].mlp.c_fc.weight.detach()
    assert int((weight == 0).sum()) == weight.numel() // 2
