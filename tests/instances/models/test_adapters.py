"""Adapters of peft in folders: merged into the model that they are for, or refused in words."""

import pytest
import torch

from maskgap.instances.errors import InputError
from maskgap.instances.models.linear import choose_linear
from maskgap.instances.models.load import load_model
from tests.helpers.checkpoints import edit, llama, tokenizer

peft = pytest.importorskip("peft", reason="peft is absent")
pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' own

LAYER = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def adapted(tmp_path):
    """A base model with a tokenizer, and an adapter for it; returns folder, A and B."""
    import transformers

    llama(tmp_path / "base")
    tokenizer(tmp_path / "base")
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    torch.manual_seed(0)
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj"]))
    layer = model.base_model.model.get_submodule(LAYER)
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_()
    model.save_pretrained(tmp_path / "adapter")
    edit(
        tmp_path / "adapter", "adapter_config.json", base_model_name_or_path=str(tmp_path / "base")
    )
    return (
        tmp_path / "adapter",
        layer.lora_A["default"].weight.detach(),
        layer.lora_B["default"].weight.detach(),
    )


def test_an_adapter_is_merged_into_its_base(adapted, tmp_path):
    folder, a, b = adapted
    base = load_model(str(tmp_path / "base"))
    loaded = load_model(str(folder))
    assert type(loaded.module) is type(base.module)
    assert loaded.causal
    assert loaded.tokenizer is not None
    state, dense = loaded.module.state_dict(), base.module.state_dict()
    assert state.keys() == dense.keys()
    torch.testing.assert_close(
        state[f"{LAYER}.weight"], dense[f"{LAYER}.weight"] + 3 * b @ a, rtol=0, atol=1e-6
    )
    own = {name for name in dense if not torch.equal(state[name], dense[name])}
    assert own
    assert all(name.endswith("q_proj.weight") for name in own)
    names = [site.name for site in choose_linear(loaded.module, "*", (), print)]
    assert names == [site.name for site in choose_linear(base.module, "*", (), print)]
    loaded.module.save_pretrained(tmp_path / "whole")
    again = load_model(str(tmp_path / "whole")).module.state_dict()
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_the_base_may_lie_beside_the_adapter(adapted):
    folder, _, _ = adapted
    edit(folder, "adapter_config.json", base_model_name_or_path="../base")
    assert load_model(str(folder)).causal


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base_model_name_or_path": None}, "names no base model"),
        ({"base_model_name_or_path": "builtins:dict"}, "names no base model"),  # it is not called
        ({"base_model_name_or_path": "../adapter"}, "holds an adapter itself"),
        ({"base_model_name_or_path": "no-such-base"}, "^no-such-base: .*local cache"),
        ({"target_modules": ["nothing_here"]}, "its adapter does not fit its base model"),
        ({"r": 3}, "its adapter does not fit its base model"),
    ],
)
def test_what_cannot_be_merged_is_refused_in_one_line(adapted, change, words):
    folder, _, _ = adapted
    edit(folder, "adapter_config.json", **change)
    with pytest.raises(InputError, match=words) as told:
        load_model(str(folder))
    assert "\n" not in str(told.value)


def test_pickled_weights_of_an_adapter_are_not_run(adapted):
    folder, _, _ = adapted
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(InputError, match=r"without adapter_model\.safetensors"):
        load_model(str(folder))
