"""The table of a layer's arrays, and that each of them is wherever a layer goes."""

import inspect
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from maskgap.benchmarks.runs import sharing
from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import read_layer, write_layer
from maskgap.instances.layer import Layer
from maskgap.instances.layer_fields import LAYER_FIELDS, Axis
from maskgap.instances.sources.cut import cut
from tests.helpers.tiny import random_layer

FIELDS = pytest.mark.parametrize("field", LAYER_FIELDS, ids=lambda field: field.name)
SIZES = {Axis.ROWS: 3, Axis.COLUMNS: 8}


def whole_layer():
    """A layer with all arrays there are, no two entries of one alike where that can be."""
    plain = random_layer(2, 8, rows=3)
    extras = {
        "gram_eval": 2 * plain.gram + np.eye(8),
        "column_cost": np.arange(8)[::-1],
        "forced": (np.arange(24).reshape(3, 8) * 7 % 3 - 1).astype(np.int8),
    }
    layer = Layer.of({**plain.arrays(), **extras}, plain.meta, "n", 2.0**-24)
    assert list(layer.arrays()) == [field.name for field in LAYER_FIELDS]
    return layer


def same(one, other):
    return one.dtype == other.dtype and np.array_equal(one, other)


def test_layer_has_the_arrays_of_the_table_and_from_arrays_takes_them():
    names = [field.name for field in LAYER_FIELDS]
    about = {"meta", "name", "gram_roundoff"}
    assert {field.name for field in fields(Layer)} == {*names, *about}
    assert set(inspect.signature(Layer.from_arrays).parameters) == {*names, *about}


@FIELDS
def test_dtype_and_axes_are_those_stated(field):
    array = getattr(whole_layer(), field.name)
    assert array.dtype == field.dtype
    assert array.shape == tuple(SIZES[axis] for axis in field.axes)


@FIELDS
def test_it_is_written_and_read_back(field, tmp_path):
    layer = whole_layer()
    write_layer(tmp_path / "a", layer)
    assert same(getattr(read_layer(tmp_path / "a"), field.name), getattr(layer, field.name))
    write_layer(tmp_path / "b", layer, np.float32)
    stored = load_file(tmp_path / "b")[field.name]
    assert stored.dtype == (np.float32 if field.real else field.dtype)


@FIELDS
def test_it_is_in_the_memory_that_runs_share(field, monkeypatch):
    monkeypatch.setattr(sharing, "LEAST_BYTES", 0)
    layer = whole_layer()
    shared = sharing.share(layer)
    assert same(getattr(shared, field.name), getattr(layer, field.name))
    assert not getattr(shared, field.name).flags.owndata  # the file's
    assert getattr(sharing.bare(shared), field.name) is None or not field.optional
    assert len(pickle.dumps(sharing.bare(whole_layer()))) < 1500


@FIELDS
def test_it_goes_to_a_cluster_if_solvers_see_it(field):
    site = pytest.importorskip("maskgap.benchmarks.runs.cluster.site", exc_type=ImportError)
    layer = whole_layer()
    back = pickle.loads(pickle.dumps(site.Parcel("p", layer))).layer
    found = getattr(back, field.name)
    assert same(found, getattr(layer, field.name)) if field.seen else found is None
    assert (back.name, back.meta, back.gram_roundoff) == ("n", layer.meta, 2.0**-24)


def test_only_the_held_out_gram_is_kept_from_solvers():
    assert [field.name for field in LAYER_FIELDS if not field.seen] == ["gram_eval"]


@FIELDS
def test_it_is_cut_along_its_axes(field):
    layer, rows, columns = whole_layer(), [2, 0], [5, 1, 6]
    block = cut(layer, rows, columns, "block")
    array = getattr(layer, field.name)
    for place, axis in enumerate(field.axes):
        array = array.take({Axis.ROWS: rows, Axis.COLUMNS: columns}[axis], axis=place)
    assert same(getattr(block, field.name), array)
    assert block.gram_roundoff == layer.gram_roundoff


@FIELDS
def test_absent_arrays_stay_absent_and_some_cannot_be(field, tmp_path):
    layer = whole_layer()
    rest = {name: array for name, array in layer.arrays().items() if name != field.name}
    if not field.optional:
        with pytest.raises(InputError, match=f"n: {field.name} is missing"):
            Layer.of(rest, layer.meta, "n")
        return
    without = Layer.of(rest, layer.meta, "n")
    assert getattr(without, field.name) is None
    write_layer(tmp_path / "a", without)
    assert getattr(read_layer(tmp_path / "a"), field.name) is None
    assert getattr(cut(without, [0], [1, 2], "block"), field.name) is None
    assert getattr(replace(layer, **{field.name: None}).as_seen(), field.name) is None
