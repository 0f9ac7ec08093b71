"""Julia's random numbers by seed: Xoshiro256++ (Blackman and Vigna 2021), and how it fills arrays.

The state is four words of 64 bits. A step returns rotl(s0 + s3, 23) + s0 and then moves

    t = s1 << 17;  s2 ^= s0;  s3 ^= s1;  s1 ^= s2;  s0 ^= s3;  s2 ^= t;  s3 = rotl(s3, 45).

`Random.seed!(seed)` makes the state of the SHA-256 digest of the words of 32 bits of the seed, both
in little-endian order. An array of LANES words and more is filled by LANES generators side by side:
word i of the state of lane j is the odd constant FORKS[i] times a draw of the parent, all draws for
word 0 first; what is left past the last full row of lanes is drawn from the parent. Shorter arrays
are drawn from the parent. `rand` is (u >> 11) 2^-53; arrays are column-major.

`randn` is in `ziggurat`.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from maskgap.instances.arrays import Matrix, Vector

Words = NDArray[np.uint64]

LANES = 8
FORKS = (0x02011CE34BCE797F, 0x5A94851FB48A6E05, 0x3688CF5D48899FA7, 0x867B4BB4C42E5661)

_MASK = (1 << 64) - 1
_UNIT = 2.0**-53


def _rotate(word: int, by: int) -> int:
    return ((word << by) | (word >> (64 - by))) & _MASK


def _turned(words: Words, by: int) -> Words:
    return np.asarray((words << np.uint64(by)) | (words >> np.uint64(64 - by)))


class Xoshiro:
    """The generator after `Random.seed!(seed)`. seed: 0 or more."""

    def __init__(self, seed: int) -> None:
        words = max(1, (seed.bit_length() + 31) // 32)
        digest = hashlib.sha256(seed.to_bytes(4 * words, "little")).digest()
        self._state = [int.from_bytes(digest[i : i + 8], "little") for i in range(0, 32, 8)]

    def word(self) -> int:
        """The next word of 64 bits."""
        s0, s1, s2, s3 = self._state
        drawn = (_rotate((s0 + s3) & _MASK, 23) + s0) & _MASK
        s2, s3 = s2 ^ s0, s3 ^ s1
        self._state = [s0 ^ s3, s1 ^ s2, s2 ^ ((s1 << 17) & _MASK), _rotate(s3, 45)]
        return drawn

    def words(self, count: int) -> Words:
        """(count,) words, as an array of 64-bit numbers is filled."""
        full = count - count % LANES
        drawn = [self._side_by_side(full // LANES)] if full else []
        rest = [self.word() for _ in range(count - full)]
        return np.concatenate([*drawn, np.array(rest, dtype=np.uint64)])

    def uniform(self) -> float:
        """`rand()`: the next number in [0, 1)."""
        return (self.word() >> 11) * _UNIT

    def uniforms(self, count: int) -> Vector:
        """(count,) `rand(count)`."""
        return np.asarray((self.words(count) >> np.uint64(11)).astype(np.float64) * _UNIT)

    def uniform_matrix(self, rows: int, columns: int) -> Matrix:
        """(rows, columns) `rand(rows, columns)`."""
        return self.uniforms(rows * columns).reshape((rows, columns), order="F")

    def _side_by_side(self, steps: int) -> Words:
        lanes = [[fork * self.word() & _MASK for _ in range(LANES)] for fork in FORKS]
        s0, s1, s2, s3 = (np.array(word, dtype=np.uint64) for word in lanes)
        drawn = np.empty((steps, LANES), dtype=np.uint64)
        for step in range(steps):
            drawn[step] = _turned(s0 + s3, 23) + s0
            shifted = s1 << np.uint64(17)
            s2 = s2 ^ s0
            s3 = s3 ^ s1
            s1 = s1 ^ s2
            s0 = s0 ^ s3
            s2 = s2 ^ shifted
            s3 = _turned(s3, 45)
        return drawn.reshape(-1)
