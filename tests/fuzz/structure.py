"""Alterations of what a proof file is made of: heads, metadata, trees, triangles, whole parts.

Of the same form as those of `tests.fuzz.tensors`.
"""

import json

import numpy as np

from tests.fuzz.tensors import places_of

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
        "leaves", "shift", "enumeration", "shared-budget", "trivial", "refit",
        "nan", "inf", "-0x0p0", "0x1p99999", "0x1p1000", "-0x1p3", "0x1.0p-1074", "f" * 64,
        heads[0].get("problem"),
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
    kind = str(rng.choice(["leaves", "shift", "enumeration", "shared-budget", "trivial", "refit"]))
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
    key = str(
        rng.choice(["layer", "pattern", "objective", "ridge", "rows", "format", "parts", "more"])
    )
    texts = (
        "", "50%", "layer:50%", "2:4", "keep=3", "0:1", "0:2", "1:2", "0:99999999999", "5:1",
        "mask", "refit", "maskgap-proof/1", "maskgap-proof/3", "[]", "[{}]", "{}", "null",
        "[" * 5000, (0.01).hex(), (1.0).hex(), "0x0p0", "-0x1p-3", "0x1p9999",
        "0.01", "inf", "NaN", "\x00", "[1e999]",
        pool[int(rng.integers(len(pool)))].meta.get(key, ""),
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
    columns = np.array([int(rng.integers(-1, 9)), -1, -1]).astype(branch.dtype)
    tensors[f"{key}.branch"] = np.concatenate([branch[:node], columns, branch[node + 1 :]])
    for name, array in (("function", function), ("point", point)):
        own = array[number] if rng.random() < 0.7 else np.array(-1).astype(array.dtype)
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
        function[places_of(rng, function)] = np.array(-1).astype(function.dtype)
        tensors[f"{key}.function"] = function


def other_subtrees(rng, tensors, meta, pool):
    """Functions said to hold elsewhere, everywhere or beyond the tree, or with other columns."""
    key = _tree(rng, tensors)
    if key is None:
        return
    own = [name for name in sorted(tensors) if name.startswith(f"{key}.u")]
    holds, nodes = tensors.get(f"{key}.holds"), len(tensors[f"{key}.branch"])
    if holds is None or holds.ndim != 1 or not len(holds):
        holds = np.zeros(max(1, len(own)), np.int32)
    holds, place = holds.copy(), int(rng.integers(len(holds)))
    near = int(holds[place]) + int(rng.integers(-2, 3))
    among = [int(rng.integers(nodes)), near, 0, nodes, int(rng.choice([-1, 2**30]))]
    match int(rng.integers(6)):
        case 0 if f"{key}.holds" in tensors:
            del tensors[f"{key}.holds"]
            return
        case 1:
            holds = rng.permutation(holds)
        case 2 if own:  # a multiplier on each column, of those that are fixed too
            name = str(rng.choice(own))
            tensors[name] = tensors[name] + 10.0 ** rng.integers(-30, 1)
        case _:
            holds[place] = np.array(among[int(rng.integers(5))]).astype(holds.dtype)
    tensors[f"{key}.holds"] = holds


# ---- diagonals


def more_dropped(rng, tensors, meta, pool):
    """Diagonals that drop other columns, as often as not those that a leaf has pruned."""
    names = [name for name in sorted(tensors) if name.endswith(".dropped")]
    names = [name for name in names if tensors[name].size and tensors[name].dtype == np.bool_]
    if names:
        name = str(rng.choice(names))
        flat = tensors[name].ravel().copy()
        flat[places_of(rng, flat)] ^= True
        tensors[name] = flat.reshape(tensors[name].shape)


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


# ---- whole parts


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
