"""Alterations of a file's tensors: numbers, shapes, dtypes, and tensors missing or moved.

Each is a function of a random generator, the tensors and the metadata, which it changes in place,
and of all honest files, of which it may take parts.
"""

import numpy as np

SPECIAL = (
    np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 2.3e-308, 1e-300, 1e-30, 1e29, 1e30, 1e31,
    1e100, 1e154, 1e200, 1.7e308, -1.7e308, -1e30, 1.0, -1.0, 2.0**53, 0.1,
)  # fmt: skip
WHOLE = (-1, -2, 0, 1, 2, 3, 7, 8, 255, 2**15 - 1, -(2**15), 2**31 - 1, -(2**31))
DTYPES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")


def _name(rng, tensors, kinds="fiub"):
    """A tensor that has entries of some kinds of dtype, or None."""
    names = [name for name in sorted(tensors) if tensors[name].dtype.kind in kinds]
    names = [name for name in names if tensors[name].size]
    return str(rng.choice(names)) if names else None


def places_of(rng, array):
    """Some places of an array, flat: one, a few, or all."""
    count = int(rng.choice([1, 1, 2, max(1, array.size // 2), array.size]))
    return rng.permutation(array.size)[:count]


# ---- numbers


def special_numbers(rng, tensors, meta, pool):
    name = _name(rng, tensors, "f")
    if name:
        flat = tensors[name].ravel()
        with np.errstate(over="ignore"):  # float32 has no 1e308
            flat[places_of(rng, flat)] = rng.choice(SPECIAL)
        tensors[name] = flat.reshape(tensors[name].shape)


def scaled_numbers(rng, tensors, meta, pool):
    name = _name(rng, tensors, "f")
    if name:
        factor = rng.choice([-1.0, 0.5, 2.0, 1 + 1e-6, 1 - 1e-6, 1.5, 10.0, 1e6, 1e-6, 2.0**200])
        with np.errstate(all="ignore"):
            tensors[name] = (tensors[name] * factor).astype(tensors[name].dtype)


def noisy_numbers(rng, tensors, meta, pool):
    name = _name(rng, tensors, "f")
    if name:
        flat = tensors[name].ravel()
        places = places_of(rng, flat)
        size = 10.0 ** rng.integers(-16, 4)
        with np.errstate(all="ignore"):
            flat[places] += (size * rng.normal(size=len(places))).astype(flat.dtype)
        tensors[name] = flat.reshape(tensors[name].shape)


def higher_multipliers(rng, tensors, meta, pool):
    """What raises a bound if no matrix is looked at: u, alpha, the shifts and diagonals."""
    names = [
        name for name in sorted(tensors) if any(w in name for w in (".u", "shift", ".diagonals"))
    ]
    if names:
        for name in names:
            tensors[name] = tensors[name] + 10.0 ** rng.integers(-12, 6)


def whole_numbers(rng, tensors, meta, pool):
    name = _name(rng, tensors, "iub")
    if name:
        flat = tensors[name].ravel()
        chosen = int(rng.choice(WHOLE))
        flat[places_of(rng, flat)] = np.array(chosen).astype(flat.dtype)
        tensors[name] = flat.reshape(tensors[name].shape)


def shuffled(rng, tensors, meta, pool):
    name = _name(rng, tensors)
    if name:
        flat = tensors[name].ravel()
        tensors[name] = rng.permutation(flat).reshape(tensors[name].shape)


# ---- shapes and dtypes


def other_dtype(rng, tensors, meta, pool):
    name = _name(rng, tensors)
    if name:
        with np.errstate(all="ignore"):
            tensors[name] = tensors[name].astype(str(rng.choice(DTYPES)))


def other_shape(rng, tensors, meta, pool):
    name = _name(rng, tensors)
    if name:
        array = tensors[name]
        forms = (
            lambda a: a.ravel(),
            lambda a: a[None],
            lambda a: a.ravel()[0],
            lambda a: a.ravel()[:0],
            lambda a: a[:-1],
            lambda a: np.concatenate([a, a[-1:]]),
            lambda a: np.concatenate([a, a]),
            lambda a: a.T,
            lambda a: a.reshape(-1, 1),
            lambda a: a[..., :-1],
        )
        if array.ndim:
            tensors[name] = np.array(forms[int(rng.integers(len(forms)))](array))


# ---- tensors that are missing, moved, or another's


def missing(rng, tensors, meta, pool):
    name = _name(rng, tensors)
    if name:
        del tensors[name]


def exchanged(rng, tensors, meta, pool):
    a, b = _name(rng, tensors), _name(rng, tensors)
    if a and b:
        tensors[a], tensors[b] = tensors[b], tensors[a]


def added(rng, tensors, meta, pool):
    """A tensor under a name of another kind, or of a part that is not there."""
    name = _name(rng, tensors)
    if name:
        suffixes = (
            "mask", "at", "u0", "u1", "alpha0", "branch", "points", "0.u0", "0.mask", "diagonals",
            "dropped", "0.diagonals",
        )  # fmt: skip
        part = int(rng.integers(3))
        tensors[str(rng.choice(["shift0", "shift9", f"part{part}.{rng.choice(suffixes)}"]))] = (
            tensors[name].copy()
        )


def of_another(rng, tensors, meta, pool):
    """Tensors of another honest file; once in two its heads too."""
    other = pool[int(rng.integers(len(pool)))]
    for name, array in other.tensors.items():
        if rng.random() < 0.7:
            tensors[name] = array.copy()
    if rng.random() < 0.5:
        meta["parts"] = other.meta["parts"]
    if rng.random() < 0.2:
        meta.update(other.meta)
