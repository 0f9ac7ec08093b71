"""Pruning that was killed goes on: the same checkpoint to the last bit, nothing on faith."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from maskgap.benchmarks.commands import prune as command
from maskgap.benchmarks.commands.limit_options import LimitOptions
from maskgap.benchmarks.commands.prune import PruneOptions
from maskgap.benchmarks.models import prune as pruning
from maskgap.benchmarks.models.course import Course
from maskgap.benchmarks.models.journal import JOURNAL, Journal
from maskgap.benchmarks.models.masks import Solved, Stored
from maskgap.benchmarks.models.prune import Source, prune_model
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.benchmarks.models.selection import Selection
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import mask_path
from maskgap.instances.models.extract_files import run_extract
from maskgap.instances.models.load import load_model
from tests.helpers.command import ROOT, maskgap, words_of

TOY = "tests.helpers.toys:two_layers"


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32))
    return path


class KilledError(Exception):
    pass


def prune(out, data, *, stop_after=None, resume=False, **options):
    """Prune the toy; stop_after: raise once so many layers were told of."""
    told = []

    def say(text):
        told.append(text)
        if stop_after is not None and sum(" of 2: " in line for line in told) == stop_after:
            raise KilledError

    options = {"solver": "wanda", "pattern": "50%", "propagate": True} | options
    masks = Solved(options["solver"], options["pattern"], {})
    source = Source(data=Sampling([data]), propagate=options["propagate"])
    layers = Selection(options.get("layers", "*"))
    return prune_model(
        load_model(TOY), masks, out, layers, source=source, say=say, resume=resume
    ), told


def broken_off(out, data, **options):
    with pytest.raises(KilledError):
        prune(out, data, stop_after=1, **options)
    assert (out / JOURNAL).exists()
    assert not (out / "model.safetensors").exists()


@pytest.mark.parametrize("propagate", [False, True])
def test_what_was_broken_off_goes_on_with_the_layers_that_are_left(tmp_path, data, propagate):
    whole, _ = prune(tmp_path / "whole", data, propagate=propagate)
    broken_off(tmp_path / "out", data, propagate=propagate)
    first = mask_path(tmp_path / "out" / "masks", "0")
    written = first.stat().st_mtime_ns
    reports, told = prune(tmp_path / "out", data, propagate=propagate, resume=True)
    assert first.stat().st_mtime_ns == written  # the first mask was not found again
    assert told[0] == "going on: 1 of 2 layers are done"
    assert [(r.layer, r.error, r.pruned) for r in reports] == [
        (r.layer, r.error, r.pruned) for r in whole
    ]
    one, other = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "out"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not (tmp_path / "out" / JOURNAL).exists()


def test_without_resume_it_says_how_to_go_on_and_touches_nothing(tmp_path, data):
    broken_off(tmp_path / "out", data)
    before = (tmp_path / "out" / JOURNAL).read_bytes()
    with pytest.raises(InputError, match="--resume goes on with what was begun there"):
        prune(tmp_path / "out", data)
    assert (tmp_path / "out" / JOURNAL).read_bytes() == before


def test_resume_of_nothing_begins_and_of_a_whole_checkpoint_is_refused(tmp_path, data):
    reports, _ = prune(tmp_path / "out", data, resume=True)
    assert len(reports) == 2
    with pytest.raises(InputError, match="is there already"):
        prune(tmp_path / "out", data, resume=True)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"pattern": "2:4"}, "pattern was '50%' and is '2:4'"),
        ({"solver": "magnitude"}, "solver was 'wanda' and is 'magnitude'"),
        ({"propagate": False}, "propagate was True and is False"),
        ({"layers": "0"}, "layers was"),
    ],
)
def test_another_question_is_refused_with_what_differs(tmp_path, data, change, what):
    broken_off(tmp_path / "out", data)
    before = (tmp_path / "out" / JOURNAL).read_bytes()
    with pytest.raises(InputError, match=what):
        prune(tmp_path / "out", data, resume=True, **change)
    assert (tmp_path / "out" / JOURNAL).read_bytes() == before
    reports, told = prune(tmp_path / "out", data, resume=True)
    assert told[0] == "going on: 1 of 2 layers are done"
    assert len(reports) == 2


def test_one_call_at_a_time_prunes_into_a_folder(tmp_path, data):
    """The second one leaves the journal and what the first has not finished as they are."""
    broken_off(tmp_path / "out", data)
    journal, unfinished = tmp_path / "out" / JOURNAL, tmp_path / "out" / ".unfinished-first"
    unfinished.mkdir()
    before = journal.read_bytes()
    with journal.open("a") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another call is pruning into this folder"):
            prune(tmp_path / "out", data, resume=True)
        assert unfinished.exists()
    assert journal.read_bytes() == before
    prune(tmp_path / "out", data, resume=True)
    assert not unfinished.exists()


def test_a_call_that_was_killed_while_saving_was_tried_begins_again(tmp_path, data, monkeypatch):
    """Also what was half written lies there then, and it goes."""
    out = tmp_path / "out"

    class Trial(BaseException):
        pass

    def killed(*args):
        (out / ".unfinished-killed").mkdir()
        (out / "masks").mkdir()
        (out / "masks" / f".maskgap-{'0' * 16}.part").touch()
        raise Trial

    with monkeypatch.context() as patch:
        patch.setattr(pruning, "try_save", killed)
        patch.setattr(Journal, "close", lambda self: self._file.close())  # as the system does
        with pytest.raises(Trial):
            prune(out, data)
    with pytest.raises(InputError, match="--resume goes on"):
        prune(out, data)
    reports, _ = prune(out, data, resume=True)
    assert len(reports) == 2
    assert not [path for path in out.rglob("*") if path.name.startswith((".unfinished", ".maskg"))]


def test_an_interrupt_says_how_to_go_on(tmp_path, data, monkeypatch, capsys):
    real = Course.take

    def interrupted(self, layer):
        if layer.name == "1":
            raise KeyboardInterrupt
        real(self, layer)

    options = PruneOptions(
        TOY, tmp_path / "out", Sampling([data]), LimitOptions(), solver="wanda", pattern="50%"
    )
    with monkeypatch.context() as patch:
        patch.setattr(Course, "take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            command.run(options)
    assert "with --resume goes on" in capsys.readouterr().err
    assert command.run(replace(options, resume=True)) == 0
    assert "going on: 1 of 2 layers are done" in capsys.readouterr().err


def test_extracted_layers_and_masks_that_were_changed_meanwhile_are_noticed(tmp_path, data):
    """The folders bear the same names, and what is in them is something else."""

    def run(masks, out, resume=False, stop=False):
        def say(text):
            if stop and text.startswith("1 of 2"):
                raise KilledError

        source = Source(extracted=tmp_path / "layers")
        return prune_model(load_model(TOY), masks, out, source=source, say=say, resume=resume)

    run_extract(TOY, tmp_path / "layers", "*", [data], samples=8)
    wanda = Solved("wanda", "50%", {})
    with pytest.raises(KilledError):
        run(wanda, tmp_path / "a", stop=True)
    run(wanda, tmp_path / "whole")
    with pytest.raises(KilledError):
        run(Stored(tmp_path / "whole" / "masks"), tmp_path / "b", stop=True)
    run(Solved("magnitude", "50%", {}), tmp_path / "other")
    shutil.copytree(tmp_path / "other" / "masks", tmp_path / "whole" / "masks", dirs_exist_ok=True)
    with pytest.raises(InputError, match="mask files was"):
        run(Stored(tmp_path / "whole" / "masks"), tmp_path / "b", resume=True)
    np.save(data, np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32))
    run_extract(TOY, tmp_path / "layers", "*", [data], samples=8)
    with pytest.raises(InputError, match=r"is not the file that 0\.mask\.safetensors was found"):
        run(wanda, tmp_path / "a", resume=True)


def test_other_data_of_the_same_name_are_noticed(tmp_path, data):
    broken_off(tmp_path / "out", data)
    np.save(data, np.ones((8, 4), dtype=np.float32))
    with pytest.raises(InputError, match="data was"):
        prune(tmp_path / "out", data, resume=True)


def test_a_torn_last_line_is_done_again_and_damage_elsewhere_refused(tmp_path, data):
    broken_off(tmp_path / "out", data)
    journal = tmp_path / "out" / JOURNAL
    text = journal.read_bytes()
    journal.write_bytes(text[:-5])
    reports, told = prune(tmp_path / "out", data, resume=True)
    assert len(reports) == 2
    assert not any("going on" in line for line in told)

    broken_off(tmp_path / "again", data)
    journal = tmp_path / "again" / JOURNAL
    head, *rest = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(head + b'{"done": {}}\n' + b"".join(rest))
    with pytest.raises(InputError, match="line 2 is damaged"):
        prune(tmp_path / "again", data, resume=True)


def test_a_mask_file_that_was_changed_meanwhile_is_refused(tmp_path, data):
    broken_off(tmp_path / "out", data)
    path = mask_path(tmp_path / "out" / "masks", "0")
    text = path.read_bytes()
    path.write_bytes(text[:-1] + bytes([text[-1] ^ 1]))
    with pytest.raises(InputError, match=r"0\.mask\.safetensors: is not the mask file"):
        prune(tmp_path / "out", data, resume=True)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A tiny language model of four blocks, and token ids."""
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    folder = tmp_path_factory.mktemp("llama")
    config = transformers.LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=12, num_hidden_layers=4,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder / "dense")
    np.save(folder / "ids.npy", np.random.default_rng(0).integers(0, 16, size=(8, 10)))
    return folder


def test_a_process_that_is_killed_in_the_middle_goes_on_to_the_same_checkpoint(llama, tmp_path):
    words = [
        "prune", llama / "dense", "--calibration", llama / "ids.npy", "--solver", "wanda",
        "-p", "50%", "--propagate", "--objective", "refit", "--resume",
    ]  # fmt: skip
    done = maskgap(*words, "--out", tmp_path / "whole")
    assert done.returncode == 0, done.stderr

    out = tmp_path / "out"
    run = subprocess.Popen(
        words_of(*words, "--out", out), cwd=ROOT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 110
    journal = out / JOURNAL
    while not journal.exists() or journal.read_bytes().count(b"\n") < 1 + 9:
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert not (out / "model.safetensors").exists()
    lines = journal.read_bytes().count(b"\n") - 1
    assert 9 <= lines < 28

    done = maskgap(*words, "--out", out)
    assert done.returncode == 0, done.stderr
    assert f"going on: {lines} of 28 layers are done" in done.stderr
    names = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    assert names == {p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*.*")
                     if p.is_file()}  # fmt: skip
    for name in names:
        if name.suffix == ".safetensors":
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    summary = json.loads((out / "pruning.json").read_text())
    assert summary["total"]["layers"] == 28
    assert "down_proj" in (out / "pruning.md").read_text()
