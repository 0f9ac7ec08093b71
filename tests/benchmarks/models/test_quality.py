"""The table of layer error and quality: made once, resumed by cell, read rightly."""

import csv
from dataclasses import replace

import pytest

from maskgap.benchmarks.models.quality import main, run
from maskgap.benchmarks.models.quality_bench import LM, Amounts, Bench, setup
from maskgap.benchmarks.models.quality_pace import CellPace
from maskgap.benchmarks.models.quality_page import FIELDS, METHODS, Subject, by_kind, render
from maskgap.instances.errors import InputError
from maskgap.instances.models.load import load_model
from maskgap.instances.models.small_lm import train
from maskgap.instances.models.texts import split_texts, standard_library_docstrings

LINE = dict.fromkeys(FIELDS, "")


def line(pattern, method, error, score):
    return {**LINE, "model": "m", "pattern": pattern, "method": method, "layers": "2",
            "error": str(error), "error_eval": str(2 * error), "perplexity": str(score),
            "spearman": str(score)}  # fmt: skip


def test_pairs_in_order_count_lower_error_with_the_better_model():
    rows = [
        line("-", "dense", 0.0, 10.0),
        line("50%", "wanda", 4.0, 20.0),
        line("50%", "swap", 2.0, 15.0),
        line("50%", "search", 1.0, 16.0),
        line("2:4", "wanda", 5.0, 30.0),
        line("2:4", "swap", 5.0, 25.0),
    ]
    lower = render(rows, [Subject("m", "*", 2, ("perplexity",))])
    assert "by perplexity 2 of 3 at 50%, 0 of 1 at 2:4." in lower
    higher = render(rows, [Subject("m", "*", 2, ("spearman",), ("spearman",))])
    assert "by Spearman of pairs 1 of 3 at 50%, 0 of 1 at 2:4." in higher
    found = [row.split("|")[2:6] for row in lower.splitlines() if " swap |" in row]
    assert [cell.strip() for cell in found[0]] == ["swap", "0.500", "0.500", "15"]


def test_errors_by_type_and_depth_are_sums_over_wandas():
    def layer(method, name, error):
        return {"model": "m", "pattern": "50%", "method": method, "layer": name, "error": error}

    rows = [
        layer(method, f"layers.{block}.{kind}", str(error * (block + 1)))
        for method, q, down in (("wanda", 4.0, 8.0), ("swap", 1.0, 4.0))
        for block in range(3)
        for kind, error in (("q_proj", q), ("down_proj", down))
    ]
    (line_of_swap,) = by_kind(rows)
    assert line_of_swap == {"pattern": "50%", "method": "swap", "q_proj": "0.250",
                            "down_proj": "0.500", "first": "0.417", "middle": "0.417",
                            "last": "0.417"}  # fmt: skip
    assert list(line_of_swap)[2:] == ["q_proj", "down_proj", "first", "middle", "last"]
    assert by_kind(rows[:6]) == []
    assert set(by_kind([r for r in rows if ".0." in r["layer"]])[0]) == {
        "pattern", "method", "q_proj", "down_proj"
    }  # fmt: skip


def test_two_models_share_no_kept_layers_and_masks():
    one = Subject("a", "*", 2, ("perplexity",))
    for method in ("dense", "wanda", "search"):
        assert setup(one, method, Amounts()) != setup(replace(one, name="b"), method, Amounts())
        assert setup(one, method, Amounts()) == setup(replace(one), method, Amounts())


def test_what_is_left_is_told_by_the_times_of_the_same_method():
    left = [("m", "60%", "wanda", "x"), ("m", "2:4", "wanda", "x"), ("m", "60%", "swap", "x")]
    pace = CellPace()
    assert pace.told(left) == "3 left, 3 of them by methods not timed yet"
    pace.took({"model": "m", "method": "wanda", "seconds": "10.5"}, 15.0)
    assert pace.told(left) == "3 left, about 30 s, 1 of them by methods not timed yet"
    pace.took({"model": "m", "method": "swap", "seconds": "100"}, 40.0)  # its masks were kept
    assert pace.told(left) == "3 left, about 2 min 14 s"
    assert pace.told([]) == "nothing is left"
    again = CellPace([{"model": "m", "method": "wanda", "seconds": "10"}])
    assert again.told(left[:2]) == "2 left, about 20 s"
    assert again.told([("other", *left[0][1:])]) == "1 left, 1 of them by methods not timed yet"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "wanda,wander"], "--methods 'wander': expected some of magnitude, wanda"),
        (["--set", "llm", "--patterns", "50"], "--patterns '50': expected some of 50%, 60%, 2:4"),
        (["--samples", "0"], "--samples 0: expected a whole number, 1 or more"),
        (["--evaluated", "-1"], "--evaluated -1: expected a whole number, 1 or more"),
    ],
)
def test_cells_that_there_are_none_of_are_one_line(tmp_path, capsys, words, message):
    with pytest.raises(SystemExit) as ended:
        main(["--out", str(tmp_path / "out"), *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def small_lm(tmp_path_factory):
    pytest.importorskip("transformers", reason="transformers is absent: pip install it")
    folder = tmp_path_factory.mktemp("lm")
    lines = []
    train(folder / "small-lm-2-0", steps=2, say=lines.append)
    return folder, lines


def test_the_small_language_model_is_trained_on_the_calibration_half_only(small_lm):
    folder, lines = small_lm
    model = load_model(str(folder / "small-lm-2-0"))
    assert model.causal
    assert model.max_length == 128
    size = sum(p.numel() for p in model.module.parameters())
    assert 1e6 < size < 3e6
    text = "\n\n".join(split_texts(standard_library_docstrings())[0])
    tokens = model.tokenizer(text, verbose=False)["input_ids"]
    assert model.tokenizer.decode(tokens) == text
    assert lines[0] == f"{size} parameters, {len(tokens)} tokens of text, 2 steps"
    with pytest.raises(InputError, match="is there already"):
        train(folder / "small-lm-2-0", steps=1)


def test_a_table_is_resumed_by_cell(small_lm, tmp_path, monkeypatch):
    folder, _ = small_lm
    methods = (*METHODS, "wanda + refit")
    subject = Subject(LM, "*.h.0.attn.c_proj", 2, ("perplexity", "kl"), (), methods, ("50%",))
    amounts = Amounts(samples=2, sequence_length=32, steps=2)
    lines = []
    page = run(tmp_path, folder, amounts=amounts, subjects=[subject], say=lines.append)
    assert lines[0] == "0 of 7 cells are known; 7 left, 7 of them by methods not timed yet"
    cells = [line for line in lines if line.startswith("cell ")]
    assert [line.partition(":")[0] for line in cells] == [f"cell {n} of 7" for n in range(1, 8)]
    assert cells[-1].endswith("nothing is left")
    rows = list(csv.DictReader((tmp_path / "quality.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == ["dense", *methods]
    by_method = {row["method"]: row for row in rows}
    assert float(by_method["dense"]["kl"]) == float(by_method["dense"]["error"]) == 0.0
    errors = {name: float(by_method[name]["error"]) for name in METHODS}
    assert errors["search"] <= errors["swap"] <= errors["wanda"]
    assert all(float(by_method[name]["sparsity"]) == 0.5 for name in METHODS)
    assert all(float(by_method[name]["kl"]) > 0 for name in METHODS)
    assert all(float(by_method[name]["agreement"]) < 1 for name in METHODS)
    assert float(by_method["wanda + refit"]["error"]) < errors["wanda"]
    layers = list(csv.DictReader((tmp_path / "layers.csv").read_text().splitlines()))
    assert [row["method"] for row in layers] == list(methods)
    assert all(row["error"] == by_method[row["method"]]["error"] for row in layers)
    assert " search |" in page
    assert (tmp_path / "quality.md").read_text() == page

    text = (tmp_path / "quality.csv").read_text()
    kept = [row for row in text.splitlines() if ",swap," not in row]
    masks = sorted((folder / "masks").glob("*/*.mask.safetensors"))
    assert len(masks) == len(methods)
    (tmp_path / "quality.csv").write_text("\n".join(kept) + "\n")
    made = []
    cell = Bench.cell
    monkeypatch.setattr(
        Bench, "cell", lambda self, *names: made.append(names) or cell(self, *names)
    )
    assert run(tmp_path, folder, amounts=amounts, subjects=[subject]) == page
    assert made == [("50%", "swap")]
    again = next(
        csv.DictReader(text.splitlines()[:1] + [r for r in text.splitlines() if ",swap," in r])
    )
    assert again == by_method["swap"]  # its masks were kept, and the seconds that they took
    assert run(tmp_path, folder, amounts=amounts, subjects=[subject]) == page
    assert len(made) == 1
    # another setup makes every cell anew
    few = Amounts(samples=3, sequence_length=32, steps=2)
    run(tmp_path, folder, amounts=few, subjects=[replace(subject, methods=("magnitude",))])
    assert made[1:] == [("-", "dense"), ("50%", "magnitude")]
    (tmp_path / "quality.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="another table"):
        run(tmp_path, folder, amounts=amounts, subjects=[subject])
