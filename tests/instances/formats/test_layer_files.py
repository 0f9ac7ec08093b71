"""Layer and mask files: what is read back, and one clear line for whatever is wrong with one."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from maskgap.instances.errors import InputError
from maskgap.instances.formats.files import read_layer, read_mask, write_layer, write_mask
from maskgap.instances.layer import Layer
from maskgap.instances.masks.patterns import parse_pattern
from maskgap.instances.problem import Problem
from tests.helpers.tiny import I1_GRAM, I1_WEIGHT, brute_force, random_layer, row_problem


def test_a_layer_reads_back_as_written(tmp_path):
    layer = Layer.from_arrays(I1_WEIGHT, I1_GRAM, 2 * I1_GRAM, {"model": "toy"})
    write_layer(tmp_path / "a.safetensors", layer)
    back = read_layer(tmp_path / "a.safetensors")
    assert back.digest == layer.digest
    assert back.meta["model"] == "toy"
    np.testing.assert_array_equal(back.gram_eval, 2 * I1_GRAM)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.safetensors"]


def test_a_mean_reads_back_and_gives_the_variance(tmp_path):
    inputs = np.array([[1.0, 2, 0], [0, -1, 3], [2, 0, 1], [4, 0, -2]])
    layer = Layer.from_arrays(
        np.ones((1, 3)), inputs.T @ inputs, None, {"tokens": "4"}, input_mean=inputs.mean(axis=0)
    )
    write_layer(tmp_path / "a.safetensors", layer)
    back = read_layer(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(back.input_mean, [1.75, 0.25, 0.5])
    np.testing.assert_allclose(back.input_variance(), inputs.var(axis=0), rtol=1e-14)
    plain = Layer.from_arrays(np.ones((1, 3)), inputs.T @ inputs)
    assert plain.digest == back.digest
    assert plain.input_mean is None
    assert plain.input_variance() is None


def test_a_constant_input_has_variance_0():
    third = np.full(3, 1 / 3)
    layer = Layer.from_arrays(
        np.ones((1, 1)), [[third @ third]], None, {"tokens": "3"}, input_mean=[1 / 3]
    )
    assert layer.input_variance() == [pytest.approx(0.0, abs=1e-16)]
    assert layer.input_variance()[0] >= 0


@pytest.mark.parametrize(
    ("mean", "tokens", "message"),
    [
        ([0.0, 0, 0], "4", r"input_mean must have shape \(4,\) .* \(3,\)"),
        (np.zeros((1, 4)), "4", r"must have shape \(4,\)"),
        ([0, np.nan, 0, 0], "4", "input_mean row 0, column 1 is nan"),
        (["a", "b", "c", "d"], "4", "real numbers"),
        ([0.0, 0, 0, 0], None, "metadata 'tokens' is none"),
        ([0.0, 0, 0, 0], "0", "metadata 'tokens' is 0"),
        ([0.0, 0, 0, 0], "-4", "metadata 'tokens' is -4"),
        ([0.0, 0, 0, 0], "many", "metadata 'tokens' is many"),
        ([0.9, 0, -1.2, 0], "4", "column 2 is -1.2, whose square exceeds 1.25"),
    ],
)
def test_bad_means_are_named(mean, tokens, message):
    meta = {} if tokens is None else {"tokens": tokens}
    with pytest.raises(InputError, match=message) as error:
        Layer.from_arrays(I1_WEIGHT, I1_GRAM, None, meta, "a.safetensors", input_mean=mean)
    assert str(error.value).startswith("a.safetensors: ")
    assert "\n" not in str(error.value)


def test_bfloat16_weights_are_read(tmp_path):
    header = {
        "weight": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]},
        "gram": {"dtype": "F64", "shape": [2, 2], "data_offsets": [4, 36]},
        "__metadata__": {"format": "maskgap-layer/1"},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    weight = (np.array([1.5, -2.0], dtype=np.float32).view(np.uint32) >> 16).astype("<u2")
    data = struct.pack("<Q", len(text)) + text + weight.tobytes() + np.eye(2).tobytes()
    (tmp_path / "b.safetensors").write_bytes(data)
    np.testing.assert_array_equal(read_layer(tmp_path / "b.safetensors").weight, [[1.5, -2.0]])


def _bad_files():
    nan, inf = I1_GRAM.copy(), I1_WEIGHT.copy()
    nan[2, 1] = np.nan
    inf[0, 3] = np.inf
    skew = I1_GRAM.copy()
    skew[0, 1] = 3
    indefinite = np.diag([1.0, 1, 1, -0.5])
    hidden = np.array([[1.0, 2, 0, 0], [2, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return {
        "row 2, column 1 is nan": {"weight": I1_WEIGHT, "gram": nan},
        "row 0, column 3 is inf": {"weight": inf, "gram": I1_GRAM},
        r"\(0, 1\) and \(1, 0\) are 3 and 1": {"weight": I1_WEIGHT, "gram": skew},
        "diagonal entry 3 is -0.5": {"weight": I1_WEIGHT, "gram": indefinite},
        "indefinite": {"weight": I1_WEIGHT, "gram": hidden},
        r"shape \(4, 4\)": {"weight": I1_WEIGHT, "gram": np.eye(3)},
        "'gram' is missing": {"weight": I1_WEIGHT},
        "'weight' is missing": {"gram": I1_GRAM},
        "non-empty matrix": {"weight": I1_WEIGHT[0], "gram": I1_GRAM},
        "real numbers": {"weight": I1_WEIGHT > 0, "gram": I1_GRAM},
    }


@pytest.mark.parametrize("message", _bad_files())
def test_bad_contents_name_file_and_place(tmp_path, message):
    path = tmp_path / "bad.safetensors"
    tensors = {name: np.ascontiguousarray(a) for name, a in _bad_files()[message].items()}
    save_file(tensors, path, metadata={"format": "maskgap-layer/1"})
    with pytest.raises(InputError, match=message) as error:
        read_layer(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_truncated_and_foreign_files(tmp_path):
    path = tmp_path / "layer.safetensors"
    with pytest.raises(InputError, match="cannot be read"):
        read_layer(path)
    write_layer(path, Layer.from_arrays(I1_WEIGHT, I1_GRAM))
    whole = path.read_bytes()
    for size in (0, 4, 8, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="not a complete safetensors file"):
            read_layer(path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(InputError, match="safetensors"):
        read_layer(path)
    save_file({"weight": I1_WEIGHT, "gram": I1_GRAM}, path)
    with pytest.raises(InputError, match="'format' is none"):
        read_layer(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_layer(tmp_path)


def test_wide_grams_are_looked_at_whole():
    """Wider than a block of rows: symmetrised, and refused for one entry far from the others."""
    n = 600
    rng = np.random.default_rng(0)
    gram = np.eye(n) + 1e-7 * rng.normal(size=(n, n))
    made = Layer.from_arrays(np.ones((1, n)), gram)
    np.testing.assert_array_equal(made.gram, 0.5 * (gram + gram.T))
    for row, column in ((590, 3), (3, 590), (300, 301)):
        skewed = gram.copy()
        skewed[row, column] = 0.1
        with pytest.raises(InputError, match=rf"\({min(row, column)}, {max(row, column)}\) and"):
            Layer.from_arrays(np.ones((1, n)), skewed)
    hidden = np.eye(n)
    hidden[550, 20] = hidden[20, 550] = 1.1
    with pytest.raises(InputError, match="indefinite"):
        Layer.from_arrays(np.ones((1, n)), hidden)


def test_a_gram_uneven_by_rounding_is_made_symmetric():
    gram = I1_GRAM.copy()
    gram[0, 1] += 1e-7
    layer = Layer.from_arrays(I1_WEIGHT, gram)
    assert (layer.gram == layer.gram.T).all()


@pytest.mark.parametrize("gram", [np.zeros((3, 3)), np.ones((3, 3)), np.diag([0.0, 4, 9])])
def test_singular_grams_are_valid(gram):
    assert Layer.from_arrays(np.ones((1, 3)), gram).d_in == 3


def test_inputs_are_not_changed_or_shared():
    weight, gram = I1_WEIGHT.copy(), I1_GRAM.copy()
    layer = Layer.from_arrays(weight, gram)
    weight[:] = 0
    gram[:] = 0
    assert layer.weight[0, 3] == 4
    assert layer.gram[3, 3] == 6


def test_a_mask_belongs_to_its_layer(tmp_path):
    layer, other = random_layer(0, 8, rows=3), random_layer(1, 8, rows=3)
    problem = Problem.of(layer, parse_pattern("50%"))
    mask = problem.groups.prune_lowest(np.abs(layer.weight))
    path = tmp_path / "m.mask.safetensors"
    write_mask(path, mask, layer, "50%", "magnitude", rows=problem.rows)
    np.testing.assert_array_equal(read_mask(path, layer), mask)
    with pytest.raises(InputError, match="belongs to another layer"):
        read_mask(path, other)
    with pytest.raises(InputError, match="does not meet pattern '25%'"):
        Problem.of(layer, parse_pattern("25%"), None, mask)


@pytest.mark.parametrize("exponent", [-300, -40, -12, 0, 18, 40, 300])
def test_scaling_is_a_power_of_two_and_loses_nothing(exponent):
    scale = 2.0**exponent
    plain, scaled = row_problem(I1_WEIGHT, I1_GRAM, "50%"), None
    scaled = row_problem(I1_WEIGHT, I1_GRAM * scale, "50%")
    np.testing.assert_array_equal(plain.quad, scaled.quad)
    assert 0.5 <= plain.quad.diagonal().mean() < 1
    mask = np.array([False, False, True, True])
    assert scaled.loss(mask) == 20 * scale
    assert scaled.rescale(scaled.scaled_loss(mask)) == 20 * scale


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_loss_is_the_squared_error_on_the_inputs(seed, n):
    rng = np.random.default_rng(seed)
    weight, inputs = rng.normal(size=(2, n)), rng.normal(size=(n, 5))
    problem = row_problem(weight, inputs @ inputs.T, "50%", row=1)
    mask = rng.random(n) < 0.5
    error = weight[1] @ inputs - (mask * weight[1]) @ inputs
    assert problem.loss(mask) == pytest.approx(float(error @ error), rel=1e-9, abs=1e-12)


def test_row_digest_depends_on_data_and_budget_only():
    layer = random_layer(0, 8)
    named = Layer.from_arrays(layer.weight, layer.gram, meta={"model": "x"}, name="elsewhere")
    digests = {
        Problem.of(source, parse_pattern(text)).part_of(0).digest
        for source in (layer, named)
        for text in ("50%", "keep=4")
    }
    assert len(digests) == 1
    assert Problem.of(layer, parse_pattern("keep=3")).part_of(0).digest not in digests
    assert Problem.of(layer, parse_pattern("2:4")).part_of(0).digest not in digests


def test_brute_force_agrees_with_the_hand_computed_optimum():
    assert brute_force(I1_WEIGHT[0], I1_GRAM, 4, 2) == (20.0, (0, 1))
