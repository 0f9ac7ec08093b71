"""Alterations of a proof file that know its structure: numbers, shapes, heads, trees, whole parts.

A file is a dict of tensors and one of metadata; each mutation changes them in place and is a
function of a random generator, the two, and all honest files, of which it may take parts.
`signed` makes the digest fit again, as anybody can.
"""

import hashlib
import json

import numpy as np
from safetensors.numpy import save

SPECIAL = (
    np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 2.3e-308, 1e-300, 1e-30, 1e29, 1e30, 1e31,
    1e100, 1e154, 1e200, 1.7e308, -1.7e308, -1e30, 1.0, -1.0, 2.0**53, 0.1,
)  # fmt: skip
WHOLE = (-1, -2, 0, 1, 2, 3, 7, 8, 255, 2**15 - 1, -(2**15), 2**31 - 1, -(2**31))
DTYPES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")


def signed(tensors, meta):
    """The metadata with a digest that fits the tensors and all else."""
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        digest.update(array.data)
    return {**meta, "digest": digest.hexdigest()}


def file_bytes(tensors, meta):
    """The file of these tensors and metadata."""
    texts = {key: text.encode("utf-8", "replace").decode() for key, text in meta.items()}
    return save({name: np.ascontiguousarray(a) for name, a in tensors.items()}, metadata=texts)


def _name(rng, tensors, kinds="fiub"):
    """A tensor that has entries of some kinds of dtype, or None."""
    names = [name for name in sorted(tensors) if tensors[name].dtype.kind in kinds]
    names = [name for name in names if tensors[name].size]
    return str(rng.choice(names)) if names else None


def _places(rng, array):
    """Some places of an array, flat: one, a few, or all."""
    count = int(rng.choice([1, 1, 2, max(1, array.size // 2), array.size]))
    return rng.permutation(array.size)[:count]


# ---- numbers


def special_numbers(rng, tensors, meta, pool):
    name = _name(rng, tensors, "f")
    if name:
        flat = tensors[name].ravel()
        with np.errstate(over="ignore"):  # float32 has no 1e308
            flat[_places(rng, flat)] = rng.choice(SPECIAL)
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
        places = _places(rng, flat)
        size = 10.0 ** rng.integers(-16, 4)
        with np.errstate(all="ignore"):
            flat[places] += (size * rng.normal(size=len(places))).astype(flat.dtype)
        tensors[name] = flat.reshape(tensors[name].shape)


def higher_multipliers(rng, tensors, meta, pool):
    """What raises a bound if P is not looked at: u, alpha and the shifts."""
    names = [name for name in sorted(tensors) if ".u" in name or "shift" in name]
    if names:
        for name in names:
            tensors[name] = tensors[name] + 10.0 ** rng.integers(-12, 6)


def whole_numbers(rng, tensors, meta, pool):
    name = _name(rng, tensors, "iub")
    if name:
        flat = tensors[name].ravel()
        chosen = int(rng.choice(WHOLE))
        flat[_places(rng, flat)] = np.array(chosen).astype(flat.dtype)
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
        suffixes = ("mask", "at", "u0", "u1", "alpha0", "branch", "points", "0.u0", "0.mask")
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


def spliced(rng, tensors, meta, pool):
    """A part of another file under this file's heads of the same problem."""
    other = pool[int(rng.integers(len(pool)))]
    heads, theirs = _heads(meta), json.loads(other.meta["parts"])
    if heads and theirs:
        mine, taken = int(rng.integers(len(heads))), int(rng.integers(len(theirs)))
        own = {key: heads[mine].get(key) for key in ("row", "height", "problem")}
        heads[mine] = {**theirs[taken], **own}
        for name, array in other.tensors.items():
            if name.startswith((f"part{taken}.", "shift")):
                tensors[name.replace(f"part{taken}.", f"part{mine}.", 1)] = array.copy()
        meta["parts"] = json.dumps(heads)


# ---- heads


def _heads(meta):
    try:
        found = json.loads(meta["parts"])
    except (KeyError, ValueError, RecursionError):
        return []
    return found if isinstance(found, list) and all(isinstance(h, dict) for h in found) else []


def _some_head(rng, heads):
    """A head, or one nested in it."""
    head = heads[int(rng.integers(len(heads)))]
    nested = head.get("rows")
    if isinstance(nested, list) and nested and isinstance(nested[0], dict) and rng.random() < 0.6:
        return nested[int(rng.integers(len(nested)))]
    return head


def other_head(rng, tensors, meta, pool):
    heads = _heads(meta)
    if not heads:
        return
    head = _some_head(rng, heads)
    key = str(rng.choice([*head, "budget", "rows", "shift", "functions", "passes", "height"]))
    values = (
        0, 1, 2, 3, 7, -1, 2**31, 2**70, 1.5, True, False, None, "", "0", "x", [], {}, [{}],
        "leaves", "shift", "enumeration", "shared-budget", "trivial", "nan", "inf", "-0x0p0",
        "0x1p99999", "0x1p1000", "-0x1p3", "0x1.0p-1074", "f" * 64, heads[0].get("problem"),
        [json.loads(json.dumps(heads[0]))], "\ud800", "\x1b[2J",
    )  # fmt: skip
    if rng.random() < 0.15:
        head.pop(key, None)
    else:
        head[key] = values[int(rng.integers(len(values)))]
    meta["parts"] = json.dumps(heads)


def other_bound(rng, tensors, meta, pool):
    heads = _heads(meta)
    if heads:
        value = float(rng.choice([0.0, 1e-300, 1.0, 1e300, -1.0])) * float(rng.random())
        _some_head(rng, heads)["bound"] = value.hex()
        meta["parts"] = json.dumps(heads)


def other_kind(rng, tensors, meta, pool):
    """Another kind with the fields that it needs, pointing at whatever tensors there are."""
    heads = _heads(meta)
    if not heads:
        return
    head = _some_head(rng, heads)
    before = json.loads(json.dumps(heads))
    kind = str(rng.choice(["leaves", "shift", "enumeration", "shared-budget", "trivial"]))
    for key in ("functions", "shift", "rows"):
        head.pop(key, None)
    head["kind"] = kind
    if kind == "leaves":
        head["functions"] = int(rng.integers(0, 3))
    if kind == "shift":
        head["shift"] = 0
    if kind == "shared-budget":
        head["rows"] = [{**own, "budget": int(rng.integers(4)), "height": 1} for own in before]
    meta["parts"] = json.dumps(heads)


def other_parts(rng, tensors, meta, pool):
    """Parts lost, repeated, reversed; the rows inside a shared budget likewise."""
    heads = _heads(meta)
    if not heads:
        return
    nested = heads[0].get("rows")
    inside = isinstance(nested, list) and nested and rng.random() < 0.7
    listed = nested if inside else heads
    changes = (
        lambda: listed.pop(int(rng.integers(len(listed)))),
        lambda: listed.append(dict(listed[0])) if isinstance(listed[0], dict) else None,
        lambda: listed.reverse(),
        lambda: listed.clear(),
    )
    changes[int(rng.integers(len(changes)))]()
    meta["parts"] = json.dumps(heads)


# ---- metadata


def other_question(rng, tensors, meta, pool):
    key = str(rng.choice(["layer", "pattern", "objective", "rows", "format", "parts", "more"]))
    texts = (
        "", "50%", "layer:50%", "2:4", "keep=3", "0:1", "0:2", "1:2", "0:99999999999", "5:1",
        "mask", "refit", "maskgap-proof/1", "maskgap-proof/3", "[]", "[{}]", "{}", "null",
        "[" * 5000, "NaN", "\x00", "[1e999]", pool[int(rng.integers(len(pool)))].meta.get(key, ""),
    )  # fmt: skip
    if rng.random() < 0.15:
        meta.pop(key, None)
    else:
        meta[key] = texts[int(rng.integers(len(texts)))]


# ---- trees


def _tree(rng, tensors):
    keys = [name.removesuffix(".branch") for name in sorted(tensors) if name.endswith(".branch")]
    keys = [key for key in keys if f"{key}.function" in tensors and f"{key}.point" in tensors]
    keys = [
        key
        for key in keys
        if all(tensors[f"{key}.{name}"].ndim == 1 for name in ("branch", "function", "point"))
        and len(tensors[f"{key}.branch"])
    ]
    return str(rng.choice(keys)) if keys else None


def split_leaf(rng, tensors, meta, pool):
    """A leaf becomes a node of two leaves; the second keeps what it had, or has no function."""
    key = _tree(rng, tensors)
    if key is None:
        return
    branch, function, point = (tensors[f"{key}.{name}"] for name in ("branch", "function", "point"))
    leaves = np.flatnonzero(branch == -1)
    if not len(leaves) or len(function) != len(leaves) or len(point) != len(leaves):
        return
    number = int(rng.integers(len(leaves)))
    node = int(leaves[number])
    columns = np.array([int(rng.integers(-1, 9)), -1, -1], branch.dtype)
    tensors[f"{key}.branch"] = np.concatenate([branch[:node], columns, branch[node + 1 :]])
    for name, array in (("function", function), ("point", point)):
        own = array[number] if rng.random() < 0.7 else np.array(-1, array.dtype)
        tensors[f"{key}.{name}"] = np.insert(array, number, own)


def cut_tree(rng, tensors, meta, pool):
    """Only a leaf of the tree is left, the best one, say."""
    key = _tree(rng, tensors)
    if key is None:
        return
    number = int(rng.integers(max(1, len(tensors[f"{key}.function"]))))
    tensors[f"{key}.branch"] = np.array([-1], np.int32)
    for name in ("function", "point"):
        tensors[f"{key}.{name}"] = tensors[f"{key}.{name}"][number : number + 1]


def no_functions(rng, tensors, meta, pool):
    """Leaves that claim to have one mask left."""
    key = _tree(rng, tensors)
    if key is not None and tensors[f"{key}.function"].size:
        function = tensors[f"{key}.function"].copy()
        function[_places(rng, function)] = np.array(-1).astype(function.dtype)
        tensors[f"{key}.function"] = function


# ---- triangles


def more_triangles(rng, tensors, meta, pool):
    """Triangles of any sign, order and apex, and some weight."""
    names = [name for name in sorted(tensors) if ".triangles" in name]
    names = [name for name in names if tensors[name].ndim == 2 and tensors[name].shape[1:] == (3,)]
    if not names:
        return
    name = str(rng.choice(names))
    key, number = name.split(".triangles")
    count = int(rng.integers(1, 6))
    columns = np.array([rng.choice(np.arange(-1, 6), 3, replace=False) for _ in range(count)])
    if rng.random() < 0.8:
        columns.sort(axis=1)
    weight = rng.normal(size=count) * 10.0 ** rng.integers(-8, 3)
    if rng.random() < 0.5:
        weight = np.abs(weight)
    more = {
        name: columns.astype(np.int32),
        f"{key}.apex{number}": rng.integers(-1, 3 + (rng.random() < 0.1), count).astype(np.int16),
        f"{key}.weight{number}": weight,
    }
    for own, array in more.items():
        held = tensors.get(own)
        if held is not None and held.ndim == array.ndim and held.shape[1:] == array.shape[1:]:
            tensors[own] = np.concatenate([held, array.astype(held.dtype)])


MUTATIONS = (
    special_numbers, scaled_numbers, noisy_numbers, higher_multipliers, whole_numbers, shuffled,
    other_dtype, other_shape, missing, exchanged, added, of_another, spliced, other_head,
    other_bound, other_kind, other_parts, other_question, split_leaf, cut_tree, no_functions,
    more_triangles,
)  # fmt: skip
FREQUENT = (
    special_numbers, scaled_numbers, noisy_numbers, higher_multipliers, whole_numbers, split_leaf,
    cut_tree, more_triangles, no_functions,
)  # fmt: skip
"""Those after which a file may well be read and judged by its numbers."""


def mutate(rng, tensors, meta, pool):
    """One to three mutations; their names."""
    names = []
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        among = FREQUENT if rng.random() < 0.5 else MUTATIONS
        mutation = among[int(rng.integers(len(among)))]
        mutation(rng, tensors, meta, pool)
        names.append(mutation.__name__)
    return names
