"""Fewer tokens than columns are told of, once."""

import numpy as np

from maskgap.instances.layer import Layer
from maskgap.instances.models.few_tokens import few_tokens_told


def layer(name, tokens, columns=3):
    meta = {} if tokens is None else {"tokens": tokens}
    return Layer.from_arrays(np.ones((1, columns)), np.eye(columns), None, meta, name)


def test_the_first_layer_with_fewer_tokens_than_columns_is_named():
    lines = []
    see = few_tokens_told(lines.append)
    for one in (layer("a", "3"), layer("b", None), layer("c", "2"), layer("d", "1")):
        see(one)
    assert len(lines) == 1
    assert lines[0].startswith("c has 3 columns and 2 tokens of calibration")
