"""Julia's streams: documented draws, and the tables of the ziggurat by what they satisfy."""

import math

import numpy as np
import pytest

from maskgap.instances.sources.published.xoshiro import LANES, Xoshiro
from maskgap.instances.sources.published.ziggurat import FILLED, normals, tables


def test_the_draws_that_the_manual_of_julia_prints():
    assert Xoshiro(1234).uniforms(2).tolist() == [0.32597672886359486, 0.5490511363155669]


def test_short_arrays_are_drawn_number_by_number_and_long_ones_are_not():
    one = Xoshiro(5)
    assert [one.uniform() for _ in range(LANES - 1)] == Xoshiro(5).uniforms(LANES - 1).tolist()
    one = Xoshiro(5)
    assert [one.uniform() for _ in range(LANES)] != Xoshiro(5).uniforms(LANES).tolist()


def test_what_is_left_past_full_lanes_comes_from_the_parent():
    random, parent = Xoshiro(3), Xoshiro(3)
    drawn = random.words(2 * LANES + 3)
    parent.words(2 * LANES)
    assert drawn[2 * LANES :].tolist() == [parent.word() for _ in range(3)]


def test_seeds_of_more_than_32_bits_have_a_stream_of_their_own():
    assert Xoshiro(1 << 32).word() != Xoshiro(1).word() != Xoshiro(0).word()


def test_strips_have_equal_area_and_fill_the_density():
    table = tables()
    ends = np.array(table.width) * 2.0**51  # x_i; the first is the base of the tail's strip
    areas = ends[2:] * (np.array(table.height[1:-1]) - np.array(table.height[2:]))
    tail = math.sqrt(math.pi / 2.0) * math.erfc(table.tail / math.sqrt(2.0))
    area = table.tail * table.height[-1] + tail
    assert areas == pytest.approx(area, rel=1e-12)
    assert ends[1] * (1.0 - table.height[1]) == pytest.approx(area, rel=1e-12)
    assert table.whole[1] == 0
    assert ends[0] * table.height[-1] == pytest.approx(area, rel=1e-15)


def test_normal_numbers_are_normal():
    drawn = np.sort(normals(Xoshiro(11), 20000))
    expected = np.array([0.5 * math.erfc(-x / math.sqrt(2.0)) for x in drawn])
    assert np.abs(expected - np.arange(1, 20001) / 20000).max() < 1.63 / math.sqrt(20000)
    assert np.abs(drawn).max() > tables().tail  # the tail is drawn from


def test_few_normal_numbers_come_one_by_one():
    assert not np.array_equal(normals(Xoshiro(2), FILLED + 1)[:2], normals(Xoshiro(2), 2))
