"""What models take: the arithmetic, and a tiny model that is measured."""

import json
import subprocess
import sys

import pytest

from maskgap.benchmarks.models import footprint
from maskgap.benchmarks.models.footprint import Cost, Shape, extrapolated, page
from tests.helpers.command import ROOT

TINY = Shape("tiny", 8, 12, 2, 2, 1, 16)


def test_weights_and_grams_are_those_of_the_model():
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    config = transformers.LlamaConfig(
        hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, vocab_size=16, tie_word_embeddings=True,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    assert 2 * TINY.block == sum(p.numel() for p in matrices)
    assert TINY.weights == sum(p.numel() for p in model.parameters() if p.ndim == 2)
    assert TINY.squares == 8 * 8 + 8 * 8 + 8 * 8 + 12 * 12


def test_more_of_everything_takes_more_in_proportion():
    one = Cost("135M", "extract", 1000, 10.0, 1, 1)
    (small,) = [s for s in footprint.SHAPES if s.name == "135M"]
    same = extrapolated(one, small, 1000)
    assert same.cpu_s == pytest.approx(10.0)
    assert same.disk_bytes == 4 * 30 * small.block + 8 * 30 * small.squares
    assert extrapolated(one, small, 3000).cpu_s == pytest.approx(30.0)
    assert "extrapolated" in page([one], 1000)


def test_a_command_is_measured_in_a_process_of_its_own():
    pytest.importorskip("transformers", reason="transformers is absent")
    script = (
        "import json, dataclasses, maskgap.benchmarks.models.footprint as f\n"
        "shape = f.Shape('tiny', 8, 12, 2, 2, 1, 16)\n"
        "print(json.dumps(dataclasses.asdict(f.run_one(shape, 'extract', 2))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=110, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["tokens"], found["command"]) == (256, "extract")
    assert found["disk_bytes"] > 8 * 2 * TINY.squares
