"""Layer files that share a Gram: the same layers, and nothing read that does not belong to them."""

import os

import numpy as np
import pytest

from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import (
    layer_path,
    read_layer,
    write_gram,
    write_layer,
    write_sharing_layer,
    write_tensors,
)
from maskgap.instances.formats.gram_file import digest_of, gram_name, shared_arrays
from maskgap.instances.formats.tensors import read_stored
from maskgap.instances.layer import Layer
from tests.helpers.command import maskgap

GRAM = np.array([[4.0, 1, 0], [1, 3, 1], [0, 1, 2]])


def layer(weight=((1.0, 2, 3), (4, 5, 6)), gram=GRAM):
    extra = {"gram_eval": 2 * gram, "input_mean": [0.1, 0.2, 0.3], "forced": np.eye(2, 3)}
    return Layer.from_arrays(weight, gram, meta={"tokens": "9", "own": "key"}, **extra)


@pytest.fixture
def pair(tmp_path):
    """Two layers of one Gram in a folder, and what was written."""
    layers = {"a": layer(), "b": layer([[7.0, 8, 9], [0, 1, 0]])}
    digest = digest_of(shared_arrays(layers["a"]))
    write_gram(tmp_path / gram_name(digest), layers["a"])
    for name, one in layers.items():
        write_sharing_layer(layer_path(tmp_path, name), one, digest, np.float32)
    return tmp_path, layers


def test_layers_come_back_with_the_gram_that_lies_beside_them(pair):
    folder, layers = pair
    assert len(list(folder.iterdir())) == 3
    for name, one in layers.items():
        tensors, meta, dtypes = read_stored(layer_path(folder, name))
        assert set(tensors) == {"weight", "forced"}
        assert (dtypes["weight"], meta["format"]) == ("F32", "maskgap-layer/2")
        back = read_layer(layer_path(folder, name))
        assert back.digest == one.digest
        assert back.arrays().keys() == one.arrays().keys()
        for key, array in one.arrays().items():
            np.testing.assert_array_equal(back.arrays()[key], array)
        assert back.meta == {"tokens": "9", "own": "key", "format": "maskgap-layer/2"}


def test_a_layer_that_was_read_is_written_whole(pair):
    folder, layers = pair
    write_layer(folder / "whole.safetensors", read_layer(layer_path(folder, "a")))
    (folder / gram_name(digest_of(shared_arrays(layers["a"])))).unlink()
    assert read_layer(folder / "whole.safetensors").digest == layers["a"].digest


@pytest.mark.parametrize("name", ["", "..", "../x", "/etc/passwd", "sub/x", "a\\b", "x\0y"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    meta = {"format": "maskgap-layer/2", "gram_file": name, "gram_digest": "0" * 64}
    write_tensors(tmp_path / "l.safetensors", {"weight": np.ones((2, 3))}, meta)
    with pytest.raises(InputError, match=r"l\.safetensors: metadata 'gram_file' must be the name"):
        read_layer(tmp_path / "l.safetensors")


def test_a_link_out_of_the_folder_is_refused(pair, tmp_path_factory):
    folder, layers = pair
    name = gram_name(digest_of(shared_arrays(layers["a"])))
    elsewhere = tmp_path_factory.mktemp("elsewhere") / name
    os.rename(folder / name, elsewhere)
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(InputError, match="a link that leads out of the folder"):
        read_layer(layer_path(folder, "a"))


def test_a_missing_a_foreign_and_another_gram_are_named(pair):
    folder, layers = pair
    path = folder / gram_name(digest_of(shared_arrays(layers["a"])))
    write_gram(path, layer(gram=2 * GRAM))
    with pytest.raises(InputError, match=rf"a\.safetensors: {path.name} holds another Gram"):
        read_layer(layer_path(folder, "a"))
    write_layer(path, layers["a"])
    with pytest.raises(InputError, match="'format' is maskgap-layer/1, expected maskgap-gram/1"):
        read_layer(layer_path(folder, "a"))
    path.unlink()
    with pytest.raises(InputError, match=f"its Gram is in {path.name}, which is not beside it"):
        read_layer(layer_path(folder, "a"))


def test_commands_read_them_as_any_layer(pair):
    folder, _ = pair
    done = maskgap("show", layer_path(folder, "a"), "--json")
    assert done.returncode == 0, done.stderr
    assert '"held_out": true' in done.stdout
    done = maskgap("solve", layer_path(folder, "b"), "-p", "keep=1", "--solver", "wanda")
    assert done.returncode == 0, done.stderr
    done = maskgap("show", next(folder.glob("gram-*")))
    assert done.returncode == 2
