"""Blocks run one at a time: the same Grams to the last bit, in a small number of forwards."""

import functools
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from maskgap.instances.errors import InputError
from maskgap.instances.models import passes, states, walk
from maskgap.instances.models.chain import survey
from maskgap.instances.models.extract import extract_layers
from maskgap.instances.models.kept_calls import tensors_of
from maskgap.instances.models.linear import choose_linear
from maskgap.instances.models.passes import Running

LAYERS = 4


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="transformers is absent: pip install it")


def causal(transformers, kind, **settings):
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=32, pad_token_id=0, bos_token_id=0, eos_token_id=0, **settings
    )
    return transformers.AutoModelForCausalLM.from_config(config)


SMALL = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": LAYERS,
    "num_attention_heads": 2, "max_position_embeddings": 32,
}  # fmt: skip
KINDS = {
    "llama": SMALL | {"num_key_value_heads": 1},
    "gemma3_text": SMALL | {"num_key_value_heads": 1, "head_dim": 8, "sliding_window": 4},
    "gpt2": {"n_embd": 16, "n_layer": LAYERS, "n_head": 2, "n_positions": 32},
    "gpt_neox": SMALL,
    "opt": {
        "hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
        "word_embed_proj_dim": 8, "max_position_embeddings": 32,
    },
    "mamba": {"hidden_size": 16, "num_hidden_layers": LAYERS, "state_size": 4},
}  # fmt: skip

IDS = torch.from_numpy(np.random.default_rng(0).integers(1, 32, size=(3, 4, 9)))
BATCHES = [{"input_ids": ids} for ids in IDS]
PADDED = [{"input_ids": IDS[0], "attention_mask": torch.tensor([[0] * 4 + [1] * 5] * 4)}]


def propagated(model, batches=BATCHES, **options):
    """Layers of a model that is pruned on the way: half of each row, by Wanda's score."""
    found = []
    for layer in extract_layers(model, batches, propagate=True, **options):
        score = np.abs(layer.weight) * np.sqrt(layer.gram.diagonal())
        keep = torch.from_numpy(score >= np.median(score, axis=1, keepdims=True))
        module = model.get_submodule(layer.name)
        with torch.no_grad():
            module.weight.mul_(keep.T if type(module).__name__ == "Conv1D" else keep)
        found.append(layer)
    return found


def whole(monkeypatch):
    """Every block by forwards of the whole model, as for models whose blocks are no chain."""
    monkeypatch.setattr(passes, "has_blocks", lambda model, sites: False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batches", [BATCHES, PADDED])
def test_to_propagate_gives_the_layers_of_forwards_of_the_whole_model(
    transformers, monkeypatch, kind, batches
):
    lines = []
    found = propagated(
        causal(transformers, kind, **KINDS[kind]), batches, running=Running(notice=lines.append)
    )
    assert lines == []
    whole(monkeypatch)
    expected = propagated(causal(transformers, kind, **KINDS[kind]), batches)
    assert [x.name for x in found] == [x.name for x in expected]
    assert [x.digest for x in found] == [x.digest for x in expected]
    assert found[0].meta["tokens"] == expected[0].meta["tokens"]


@pytest.mark.parametrize("propagate", [False, True])
def test_each_block_is_run_a_small_number_of_times(transformers, propagate):
    model = causal(transformers, "llama", **KINDS["llama"])
    runs, heads = [0] * LAYERS, [0]
    for number, block in enumerate(model.model.layers):
        block.mlp.register_forward_hook(
            lambda *_, number=number: runs.__setitem__(number, runs[number] + 1)
        )
    model.lm_head.register_forward_hook(lambda *_: heads.__setitem__(0, heads[0] + 1))
    options = {"propagate": propagate, "layers": "model.layers.*"}
    layers = list(extract_layers(model, BATCHES, held_out=BATCHES[:1], **options))
    assert len(layers) == 7 * LAYERS
    once = 2 + len(BATCHES) + 1  # the survey, the trial of the walk, each batch
    assert runs == [once + (len(BATCHES) + 1 if propagate else 0)] * LAYERS
    assert heads == [1]  # the survey's alone


def test_states_that_memory_has_no_room_for_lie_on_disk(transformers, monkeypatch, tmp_path):
    expected = propagated(causal(transformers, "llama", **KINDS["llama"]))
    monkeypatch.setattr(states, "SHARE_OF_MEMORY", 1 << 60)
    written = []
    real = states.States._write

    def watched(self, number, tensor):
        written.append(number)
        real(self, number, tensor)

    monkeypatch.setattr(states.States, "_write", watched)
    found = propagated(
        causal(transformers, "llama", **KINDS["llama"]), running=Running(scratch=tmp_path)
    )
    assert [x.digest for x in found] == [x.digest for x in expected]
    assert len(written) == len(BATCHES) * (LAYERS + 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", [0, 1 << 30])
def test_states_come_back_to_the_last_bit(monkeypatch, tmp_path, room):
    """Of any dtype and size, after others of the same batch that were smaller and larger."""
    monkeypatch.setattr(states, "SHARE_OF_MEMORY", 1 << 60 if room == 0 else 4)
    kept = states.States(tmp_path)
    draw = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        for rows in (2, 3, 1):
            put = {n: torch.randn(rows + n, 5, generator=draw).to(dtype).T for n in range(3)}
            for number, tensor in put.items():
                kept.put(number, tensor)
            for number, tensor in put.items():
                for _ in range(2):  # what the caller does to it changes nothing
                    found = kept.get(number)
                    assert found.dtype == dtype
                    assert torch.equal(found, tensor)
                    found.zero_()
    kept.close()


def test_a_disk_without_room_for_states_is_told_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(states, "SHARE_OF_MEMORY", 1 << 60)
    kept = states.States(tmp_path / "absent")
    with pytest.raises(InputError, match="does not take the states of blocks"):
        kept.put(0, torch.ones(3))
    kept.close()


def test_masks_of_batches_that_are_alike_are_kept_once(transformers):
    """Memory beside the states does not grow with the batches."""
    model = causal(transformers, "gemma3_text", **KINDS["gemma3_text"])
    model.set_attn_implementation("eager")
    sites = choose_linear(model, "model.layers.*", (), lambda name, reason: None)
    seen = survey(model, sites, BATCHES[0])
    course = walk.Walk(model, seen.chain, None)
    side = course.side(BATCHES, "calibration")
    tensors = [t for calls in side.calls for call in calls for t in tensors_of(call)]
    assert len(tensors) > 3 * LAYERS
    of_one = {id(t) for call in side.calls[0] for t in tensors_of(call)}
    assert {id(t) for t in tensors} == of_one
    course.close()


class Given(NamedTuple):
    scale: torch.Tensor


class Attributes(OrderedDict):
    scale = 2.0


class Scaled(nn.Module):
    """A block that is given more than its states; odd: what that is."""

    def __init__(self, odd):
        super().__init__()
        self.l = nn.Linear(3, 3)
        self.odd = odd

    def forward(self, x, more):
        if self.odd == "written to":
            more += 1.0
            return self.l(x) * more
        return self.l(x) * more.scale


class Given3(nn.Module):
    def __init__(self, odd, more):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(Scaled(odd) for _ in range(3))
        self.more = more

    def forward(self, x):
        more = self.more()
        for block in self.blocks:
            x = block(x, more)
        return x


@pytest.mark.parametrize(
    ("odd", "more", "chain"),
    [
        ("named tuple", lambda: Given(torch.full((1,), 2.0)), True),
        ("mapping with attributes", lambda: Attributes(a=1), True),
        ("written to", lambda: torch.zeros(1), False),
    ],
)
def test_other_arguments_of_blocks_are_what_they_were(monkeypatch, odd, more, chain):
    lines = []
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    found = propagated(Given3(odd, more), [x], running=Running(notice=lines.append))
    assert (lines == []) is chain
    whole(monkeypatch)
    expected = propagated(Given3(odd, more), [x])
    assert [layer.digest for layer in found] == [layer.digest for layer in expected]


def test_an_own_forward_of_a_block_is_there_again(transformers):
    """Other libraries wrap the forward of a module in its own dictionary."""
    model = causal(transformers, "llama", **KINDS["llama"])
    block = model.model.layers[0]
    block.forward = own = functools.partial(type(block).forward, block)
    found = propagated(model)
    assert block.forward is own
    assert "forward" not in vars(model.model.layers[1])
    expected = propagated(causal(transformers, "llama", **KINDS["llama"]))
    assert [x.digest for x in found] == [x.digest for x in expected]


class Stack(nn.Module):
    """Blocks, and one thing that makes them no chain."""

    def __init__(self, odd):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))
        self.odd = odd

    def forward(self, x):
        first = x
        for block in self.blocks:
            x = block(x) if self.odd != "scaled" else block(2 * x)
        if self.odd == "twice":
            x = self.blocks[0](x)
        return x + first


@pytest.mark.parametrize(
    ("odd", "reason"),
    [("scaled", "is not given what the one before it returned"), ("twice", "not called once each")],
)
def test_blocks_that_are_no_chain_are_run_whole_and_said_so(odd, reason):
    x, lines = torch.ones(2, 3), []
    found = list(
        extract_layers(Stack(odd), [x], propagate=True, running=Running(notice=lines.append))
    )
    assert len(found) == 3
    assert len(lines) == 1
    assert reason in lines[0]


def test_what_a_block_is_given_of_earlier_blocks_makes_it_no_chain():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(3, 3)

        def forward(self, x, bias):
            return self.l(x) + bias

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.blocks = nn.ModuleList(Mixed() for _ in range(3))

        def forward(self, x):
            bias = torch.zeros(3)
            for block in self.blocks:
                x = block(x, bias)
                bias = x.mean(dim=0)
            return x

    lines = []
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    found = list(extract_layers(Model(), [x], propagate=True, running=Running(notice=lines.append)))
    assert len(found) == 3
    assert lines[0].endswith("its blocks by themselves do not do as they do in the model")


def test_blocks_are_run_where_they_are_told_and_go_back(transformers):
    model = causal(transformers, "llama", **KINDS["llama"])
    expected = propagated(causal(transformers, "llama", **KINDS["llama"]))
    found = propagated(model, running=Running(device=torch.device("cpu")))
    assert [x.digest for x in found] == [x.digest for x in expected]
    assert {p.device.type for p in model.parameters()} == {"cpu"}


def test_blocks_tied_by_memory_alone_are_not_moved(transformers):
    model = causal(transformers, "llama", **KINDS["llama"])
    first, second = (model.model.layers[i].mlp.up_proj for i in (0, 1))
    second.weight.data = first.weight.data
    lines = []
    running = Running(device=torch.device("cuda"), notice=lines.append)
    list(extract_layers(model, BATCHES, "*.3.*", running=running))
    assert lines == ["blocks stay off cuda: a move would take ties apart"]
    assert second.weight.data_ptr() == first.weight.data_ptr()


def test_what_blocks_return_beside_states_goes_nowhere_or_they_are_no_chain(
    transformers, monkeypatch
):
    """A block of Bloom returns its attention weights too."""
    settings = {"hidden_size": 16, "n_layer": LAYERS, "n_head": 2}
    lines = []
    options = {"layers": "transformer.h.*", "running": Running(notice=lines.append)}
    found = propagated(causal(transformers, "bloom", **settings), **options)
    assert lines == []
    assert len(found) == 4 * LAYERS
    propagated(causal(transformers, "bloom", **settings), running=Running(notice=lines.append))
    assert "which layers behind may be given" in lines[0]
    whole(monkeypatch)
    expected = propagated(causal(transformers, "bloom", **settings), layers="transformer.h.*")
    assert [x.digest for x in found] == [x.digest for x in expected]


def test_extra_results_that_the_next_block_needs_make_it_no_chain():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(3, 3)

        def forward(self, x, bias):
            return self.l(x) + bias, x

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.blocks = nn.ModuleList(Block() for _ in range(3))

        def forward(self, x):
            bias = torch.zeros(3)
            for block in self.blocks:
                x, more = block(x, bias)
                bias = more * 2
            return x

    lines = []
    found = list(extract_layers(Model(), [torch.ones(2, 3)], propagate=True,
                                running=Running(notice=lines.append)))  # fmt: skip
    assert len(found) == 3
    assert lines[0].endswith("do not do as they do in the model")
