"""Damage to the bytes of a safetensors file: eight bytes n, n bytes of JSON, the tensors' bytes."""

import json


def damaged(rng, raw):
    """The bytes altered in one way."""
    ways = (_cut, _flipped, _longer, _other_length, _other_header)
    return ways[int(rng.integers(len(ways)))](rng, raw)


def _cut(rng, raw):
    return raw[: int(rng.integers(len(raw)))]


def _flipped(rng, raw):
    found = bytearray(raw)
    for _ in range(int(rng.integers(1, 5))):
        found[int(rng.integers(len(found)))] ^= 1 << int(rng.integers(8))
    return bytes(found)


def _longer(rng, raw):
    return raw + rng.bytes(int(rng.integers(1, 64)))


def _other_length(rng, raw):
    lengths = (0, 1, 7, 8, len(raw), len(raw) - 8, 2**31, 2**63 - 1, 2**64 - 1, 10**12)
    return lengths[int(rng.integers(len(lengths)))].to_bytes(8, "little") + raw[8:]


def _other_header(rng, raw):
    """Lies about one tensor: sizes up to 10^12 entries, places, dtype; or about the metadata."""
    size = int.from_bytes(raw[:8], "little")
    header, rest = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    names = sorted(header)
    name = str(rng.choice(names))
    values = (
        {"shape": [10**12]}, {"shape": [10**6, 10**6]}, {"shape": [-1]}, {"shape": []},
        {"shape": [2**63]}, {"shape": [0, 10**18]}, {"data_offsets": [0, 10**12]},
        {"data_offsets": [0, 0]}, {"data_offsets": [8, 0]}, {"data_offsets": [-8, 8]},
        {"dtype": "F64"}, {"dtype": "I64"}, {"dtype": "BF16"}, {"dtype": "C64"}, {"dtype": 7},
        {"format": 1}, {"rows": None}, {"parts": [1]},
    )  # fmt: skip
    header[name] = {**header[name], **values[int(rng.integers(len(values)))]}
    if rng.random() < 0.1:
        header[name] = None
    text = json.dumps(header).encode()
    if rng.random() < 0.1:
        text = text.replace(b'"shape"', b'"shape":[1],"shape"', 1)
    if rng.random() < 0.1:
        text = b"[" * 100_000
    return len(text).to_bytes(8, "little") + text + rest
