"""Held-out windows of a text: full, apart, drawn over all documents."""

import json

import pytest
from torch import nn

from maskgap.instances.errors import InputError
from maskgap.instances.models.calibration import load_calibration, load_windows
from maskgap.instances.models.load import LoadedModel
from maskgap.instances.models.texts import split_texts


class Letters:
    """A tokenizer: one token a character; `frame` is put around a text."""

    model_max_length = 8
    unk_token_id = ord("?")

    def __init__(self, frame=("", "")):
        self.frame = frame
        self.read = 0

    def __call__(self, text, add_special_tokens=True, verbose=True):
        self.read += len(text)
        begin, end = self.frame if add_special_tokens else ("", "")
        return {"input_ids": [ord(letter) for letter in begin + text + end]}

    def convert_ids_to_tokens(self, ids):
        return [chr(i) for i in ids]


def windows(path, samples, length, frame=("", "")):
    model = LoadedModel("letters", nn.Identity(), causal=True, tokenizer=Letters(frame))
    batches, told, meta = load_windows(model, [path], samples, length)
    texts = [bytes(row.tolist()).decode() for batch in batches for row in batch["input_ids"]]
    return texts, told, meta


def test_windows_are_cut_from_the_held_out_half_without_overlap(tmp_path):
    path = tmp_path / "texts.jsonl"
    texts = [letter * 5 for letter in "abcdef"]
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    held_out = split_texts(texts)[1]
    stream = "".join(f"{text}\n\n" for text in held_out)
    found, told, meta = windows(path, 100, 4)
    assert found == [stream[i : i + 4] for i in range(0, 20, 4)]  # the last letter is left over
    assert (meta["calibration"], meta["sequence_length"]) == ("texts.jsonl", "4")
    assert str(told) == "5 of 4 tokens, stride 4, no special token"
    assert windows(path, 2, 4)[0] == [stream[:4], stream[10:14]]  # the beginnings of two halves
    assert windows(path, 4, 4)[0] == [stream[i : i + 4] for i in (0, 5, 10, 15)]
    assert windows(path, 9, 999)[0] == [stream]  # less text than one window
    path.write_text('{"text": "a"}\n{"text": "b"}')
    with pytest.raises(InputError, match="at least 1"):
        windows(path, 0, 4)
    with pytest.raises(InputError, match="too short"):
        windows(path, 1, 1)


def test_windows_begin_as_sequences_do_and_end_as_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(" ".join(["abcdefgh"] * 20))
    held_out = split_texts([path.read_text()])[1][0]
    stream = f"{held_out}\n\n"
    found, told, _ = windows(path, 3, 5, ("<^", "$"))
    third = len(stream) // 3
    assert found == [f"<^{stream[i : i + 3]}" for i in (0, third, 2 * third)]
    assert str(told) == "3 of 5 tokens, stride 3, each beginning with < ^"
    assert windows(path, 1, 999, ("<", ""))[0] == [f"<{stream}"]
    with pytest.raises(InputError, match=r"sequences of 2 tokens leave no room .* \(<, \^\)"):
        windows(path, 1, 2, ("<^", ""))
    model = LoadedModel("letters", nn.Identity(), tokenizer=Letters(("<^", "$")))
    batch = load_calibration(model, [path], 2, 6).batches[0]["input_ids"]
    assert [bytes(row.tolist()).decode() for row in batch] == ["<^abc$", "<^def$"]


def test_windows_are_full_and_drawn_over_all_documents(tmp_path):
    """Of documents shorter and longer than a window, and no character in two windows."""
    path = tmp_path / "texts.jsonl"
    texts = [chr(200 + i) * (3 if i % 2 else 900) for i in range(40)]
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    model = LoadedModel("letters", nn.Identity(), causal=True, tokenizer=Letters())
    data = load_calibration(model, [path], 24, 10)
    for half, batches in zip(split_texts(texts), (data.batches, data.held_out), strict=True):
        rows = [row for batch in batches for row in batch["input_ids"].tolist()]
        assert [len(row) for row in rows] == [10] * 24
        long = {text[0] for text in half if len(text) == 900}
        assert len({chr(i) for row in rows for i in row} & long) > 0.8 * len(long)
    again = load_calibration(model, [path], 24, 10)
    assert again.meta == data.meta
    few = load_calibration(model, [path], 4000, 1000)  # fewer full windows than asked for
    count = int(few.meta["samples"])
    assert count == sum(len(text) + 2 for text in split_texts(texts)[0]) // 1000
    assert {b["input_ids"].shape[1] for b in few.batches} == {1000}
