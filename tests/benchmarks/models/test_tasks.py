"""Tasks of lm-eval on a local file with local data, against the likelihoods of the model itself."""

import json
import math

import pytest
import torch

from maskgap.benchmarks.models import tasks as module
from maskgap.benchmarks.models.tasks import check_tasks, evaluate_tasks, render
from maskgap.instances.errors import InputError
from maskgap.instances.models.load import LoadedModel, load_model

WORDS = ["<s>", "<unk>", "the", "cat", "dog", "sat", "ran", "on", "a", "mat", "hill", "and", "was",
         "red", "blue", "old"]  # fmt: skip

QUESTIONS = [
    {"before": "the cat", "choices": ["sat on a mat", "ran"], "answer": 0},
    {"before": "the dog was", "choices": ["red", "blue and old"], "answer": 1},
    {"before": "a hill", "choices": ["was old", "ran on"], "answer": 0},
    {"before": "the mat and the cat", "choices": ["sat", "was red"], "answer": 1},
    {"before": "a blue dog", "choices": ["ran on the hill", "sat"], "answer": 0},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny Llama of words."""
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("words")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="<s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=64, initializer_range=0.5,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return load_model(str(folder))


@pytest.fixture
def task(tmp_path):
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
    path = tmp_path / "mine.yaml"
    path.write_text(
        "task: mine\n"
        "dataset_path: json\n"
        "dataset_kwargs:\n"
        f"  data_files:\n    test: {tmp_path}/questions.jsonl\n"
        f"  cache_dir: {tmp_path}/cache\n"
        "test_split: test\n"
        "output_type: multiple_choice\n"
        'doc_to_text: "{{before}}"\n'
        'doc_to_target: "{{answer}}"\n'
        'doc_to_choice: "{{choices}}"\n'
        "metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
    )
    return path


def likelihood(model, before, choice):
    ids = model.tokenizer(f"{before} {choice}", return_tensors="pt")["input_ids"]
    first = len(model.tokenizer(before)["input_ids"])
    with torch.no_grad():
        scores = torch.log_softmax(model.module(input_ids=ids).logits[0, :-1], dim=-1)
    return float(scores.gather(1, ids[0, 1:, None])[first - 1 :].sum())


def right(model, question):
    values = [likelihood(model, question["before"], choice) for choice in question["choices"]]
    return values.index(max(values)) == question["answer"]


def test_accuracy_on_a_task_file_is_that_of_the_models_likelihoods(model, task):
    pytest.importorskip("lm_eval", reason="lm-eval is absent: pip install 'maskgap[evaluate]'")
    share = sum(right(model, question) for question in QUESTIONS) / len(QUESTIONS)
    (score,) = evaluate_tasks(model, model, [str(task)])
    assert (score.task, score.metric, score.examples, score.shots) == ("mine", "acc", 5, 0)
    assert score.value == pytest.approx(share)
    assert score.value_dense == score.value
    deviation = math.sqrt(share * (1 - share) / (len(QUESTIONS) - 1))
    assert score.stderr == pytest.approx(deviation)
    assert 0 < share < 1  # else the test shows little
    (few,) = evaluate_tasks(model, None, [str(task)], limit=2)
    assert few.examples == 2
    assert few.value == sum(right(model, question) for question in QUESTIONS[:2]) / 2
    assert few.value_dense is None
    assert "| mine " in render([score])


def test_what_cannot_be_asked_is_one_line(model, task, tmp_path, monkeypatch):
    pytest.importorskip("lm_eval", reason="lm-eval is absent: pip install 'maskgap[evaluate]'")
    broken = tmp_path / "broken.yaml"
    broken.write_text(task.read_text().replace("questions.jsonl", "absent.jsonl"))
    for name, message in [
        (tmp_path / "none.yaml", "no such task file"),
        (broken, "lm-eval cannot ask them"),
        ("no_such_task", "lm-eval cannot ask them"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            evaluate_tasks(model, None, [str(name)])
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(InputError, match="no causal language model"):
        evaluate_tasks(LoadedModel("m", torch.nn.Linear(1, 1)), None, [str(task)])
    without = LoadedModel("m", model.module, pretrained=True, causal=True)
    with pytest.raises(InputError, match="has no tokenizer"):
        evaluate_tasks(without, None, [str(task)])
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"--tasks needs lm-eval: pip install 'maskgap\[evaluate"):
        check_tasks([str(task)])


def test_data_that_are_not_to_be_had_are_one_line(model, monkeypatch):
    """A task of lm-eval by name, where neither the network nor the cache has its data."""
    pytest.importorskip("lm_eval", reason="lm-eval is absent: pip install 'maskgap[evaluate]'")
    datasets = pytest.importorskip("datasets", reason="datasets is absent")

    def unreachable(*args, **kwargs):
        raise ValueError("wrapped") from ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(InputError, match="neither in the cache of datasets nor to be had"):
        evaluate_tasks(model, None, ["arc_easy"])
