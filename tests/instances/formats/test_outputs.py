"""Outputs are tried before any work, keep what a user has, and leave nothing behind."""

import errno
import fcntl
import os
import stat

import numpy as np
import pytest

from maskgap.benchmarks.runs.lock import LOCK_FILE, OWNER_FILE, locked
from maskgap.instances.errors import InputError
from maskgap.instances.formats.evidence.trivial import trivial_proof
from maskgap.instances.formats.files import MASK, write_atomically, write_layer, write_mask
from maskgap.instances.formats.outputs import (
    Writes,
    format_of,
    replacing,
    try_directory,
    try_file,
)
from maskgap.instances.formats.proof_file import write_proof
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from tests.helpers.command import python
from tests.helpers.tiny import random_layer

LAYER = random_layer(1, 8, rows=2)
KEPT = np.ones((2, 8), dtype=bool)


def _mask(path, mask=KEPT):
    write_mask(path, mask, LAYER, "50%", "wanda", rows=range(2))
    return path


def _listing(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def layer(tmp_path):
    write_layer(tmp_path / "layer.safetensors", LAYER)
    return tmp_path / "layer.safetensors"


def _link_to(target):
    def make(folder):
        (folder / "out").symlink_to(target(folder))

    return make


def _proof(path):
    problem = Problem.of(random_layer(2, 4), parse_pattern("50%"))
    write_proof(path, problem, [trivial_proof(row) for row in problem])


def _hard_link(folder):
    os.link(folder / "layer.safetensors", folder / "out")


OTHERS = {
    "the input by a link": _link_to(lambda folder: folder / "layer.safetensors"),
    "the input by a second name": _hard_link,
    "a layer": lambda folder: write_layer(folder / "out", random_layer(2, 4)),
    "a proof": lambda folder: _proof(folder / "out"),
    "a text": lambda folder: (folder / "out").write_text("my thesis"),
    "an empty file": lambda folder: (folder / "out").touch(),
    "a header cut off": lambda folder: (folder / "out").write_bytes(b"\xff" * 7 + b"\x00{}"),
    "a header of nested lists": lambda folder: (folder / "out").write_bytes(
        (100_000).to_bytes(8, "little") + b"[" * 100_000
    ),
    "a directory": lambda folder: (folder / "out").mkdir(),
    "a pipe": lambda folder: os.mkfifo(folder / "out"),
    "a link to a device": _link_to(lambda folder: "/dev/null"),
    "a link to itself": _link_to(lambda folder: "out"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_nothing_of_another_kind_is_an_output(layer, other):
    OTHERS[other](layer.parent)
    before = _listing(layer.parent)
    with pytest.raises(InputError) as raised:
        try_file(layer.parent / "out", MASK, [None, layer])
    assert str(layer.parent / "out") in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert _listing(layer.parent) == before


@pytest.mark.parametrize(
    "path", ["layer.safetensors/x", "sub/../layer.safetensors", "x" * 300, "\0", "/proc/nope/x"]
)
def test_a_place_that_takes_no_file_is_said_before_work(layer, path):
    with pytest.raises(InputError, match=r"cannot be written|the input"):
        try_file(layer.parent / path, MASK, [layer])
    with pytest.raises(InputError, match=r"cannot be written|a file"):
        try_directory(layer.parent / path)


def test_a_trial_makes_folders_and_leaves_no_file(tmp_path):
    try_file(tmp_path / "a" / "b" / "out", MASK)
    try_directory(tmp_path / "c" / "d")
    assert _listing(tmp_path) == ["a", "c"]
    assert _listing(tmp_path / "a" / "b") == _listing(tmp_path / "c" / "d") == []


def test_full_disks_are_found_by_the_trial(tmp_path, monkeypatch):
    # /dev/full takes no bytes, and is no folder: the trial's file is led there
    opened = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, *mode: opened("/dev/full", os.O_WRONLY))
    with pytest.raises(InputError, match="No space left"):
        try_file(tmp_path / "out", MASK)


def test_the_same_kind_is_set_aside_and_nothing_is_lost(tmp_path):
    path, said = tmp_path / "m.mask.safetensors", []
    for number in range(3):
        mask = KEPT.copy()
        mask[0, number] = False
        for _ in range(2):  # the same contents again are no other file
            try_file(path, MASK)
            with replacing(path, said.append) as new:
                _mask(new, mask)
    assert _listing(tmp_path) == [path.name, f"{path.name}.old-1", f"{path.name}.old-2"]
    assert [line.partition(": ")[2] for line in said] == [
        f"what was there is kept as {path.name}.old-{number}" for number in (1, 2)
    ]
    assert all(format_of(file) == "maskgap-mask/1" for file in tmp_path.iterdir())


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "link").symlink_to("real")
    for mask in (KEPT, ~KEPT):
        try_file(tmp_path / "link", MASK)
        with replacing(tmp_path / "link") as new:
            _mask(new, mask)
    assert (tmp_path / "link").is_symlink()
    assert _listing(tmp_path) == ["link", "real", "real.old-1"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_of_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "new", b"x")
        (tmp_path / "mine").touch()
        (tmp_path / "mine").chmod(0o600)
        write_atomically(tmp_path / "mine", b"x")
        with replacing(tmp_path / "mine") as new:
            write_atomically(new, b"y")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o600


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = _mask(tmp_path / "m")
    old = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    writes = Writes()
    with writes.attempt(), replacing(path) as new:
        _mask(new, ~KEPT)
    with pytest.raises(InputError, match=f"^{path}: cannot be written: No space left on device$"):
        writes.close()
    assert _listing(tmp_path) == ["m"]
    assert path.read_bytes() == old


def test_all_failures_are_counted():
    writes = Writes()
    writes.close()
    for name in "abc":
        with writes.attempt():
            raise InputError(f"{name}: full")
    with pytest.raises(InputError, match=r"^a: full \(and 2 more that could not be written\)$"):
        writes.close()


@pytest.mark.parametrize("has_flock", [True, False])
def test_a_directory_has_one_writer(tmp_path, monkeypatch, has_flock):
    if not has_flock:

        def flock(*_):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path, "wait"):
        with pytest.raises(InputError, match="another run is writing here"), locked(tmp_path, "w"):
            raise AssertionError
        assert (tmp_path / OWNER_FILE).exists() != has_flock
    with locked(tmp_path, "wait"):
        pass
    assert not (tmp_path / OWNER_FILE).exists()


def test_a_dead_owner_holds_nothing(tmp_path, monkeypatch):
    script = (
        "import errno, fcntl, os, pathlib\n"
        "from maskgap.benchmarks.runs import lock\n"
        "def flock(*_): raise OSError(errno.ENOSYS, 'no')\n"
        "fcntl.flock = flock\n"
        f"with lock.locked(pathlib.Path({str(tmp_path)!r}), 'wait'):\n    os._exit(1)\n"
    )
    python(script, code=1)
    assert (tmp_path / OWNER_FILE).exists()

    def flock(*_):
        raise OSError(errno.ENOSYS, "no")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path, "wait"):
        pass


@pytest.mark.parametrize("exists", [True, False])
def test_a_lock_goes_through_no_link_and_empties_nothing(tmp_path, exists):
    if exists:
        (tmp_path / "mine").write_text("keep")
    (tmp_path / LOCK_FILE).symlink_to("mine")
    with pytest.raises(InputError, match="it is a link"), locked(tmp_path, "wait"):
        raise AssertionError
    assert (tmp_path / "mine").exists() == exists
    (tmp_path / LOCK_FILE).unlink()
    (tmp_path / LOCK_FILE).write_text("somebody's")
    with locked(tmp_path, "wait"):
        pass
    assert (tmp_path / LOCK_FILE).read_text() == "somebody's"
