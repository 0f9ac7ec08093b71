"""What 2:4 masks are worth in time: products with a pruned layer, dense and semi-structured.

    Y = X W^T,    X (tokens, d_in),  W (d_out, d_in) with two zeros or more in each aligned four

    python -m maskgap.benchmarks.models.semi_structured pruned/ --device cuda

Sparse tensor cores skip half of such a product, given W as `torch.sparse.to_sparse_semi_structured`
packs it. Both products are timed in half precision on the layer's own weights and random inputs, by
CUDA events around `CALLS` of them, the median of `ROUNDS`, after they were seen to give the same up
to rounding. Layers of one shape take the same time, so one of each shape is timed. Only products
are timed, no model.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.nn.functional import linear

from maskgap.benchmarks.reading.typeset import markdown
from maskgap.instances.errors import InputError, MaskgapError, first_line
from maskgap.instances.models.devices import usable_device
from maskgap.instances.models.linear import choose_linear
from maskgap.instances.models.load import load_model

TOKENS = 2048
CALLS, ROUNDS = 20, 9

CAPABILITY = (8, 0)
"""Of the first devices that have sparse tensor cores."""

NEAR = 1e-2
"""Relative difference, in norm, of two products that are the same up to half precision."""


@dataclass(frozen=True, slots=True)
class ProductTime:
    """Seconds of a product. layers: 2:4 layers of this shape. sparse_s: None for the `reason`."""

    d_out: int
    d_in: int
    layers: int
    dense_s: float
    sparse_s: float | None
    reason: str = ""


def is_two_four(weight: torch.Tensor) -> bool:
    """Whether each aligned four entries of each row of a matrix (d_out, d_in) has two zeros."""
    if weight.shape[1] % 4:
        return False
    return bool(((weight.reshape(-1, 4) != 0).sum(dim=1) <= 2).all())


def sparse_device(name: str) -> torch.device:
    """A device with sparse tensor cores. Raises InputError for any other, the processor too."""
    device = usable_device(name)
    if device.type != "cuda" or torch.version.cuda is None:
        raise InputError(f"device '{name}' has no semi-structured products; they need CUDA")
    if torch.cuda.get_device_capability(device) < CAPABILITY:
        raise InputError(
            f"device '{name}' has no sparse tensor cores: they came with capability 8.0"
        )
    return device


def product_times(
    weights: Sequence[torch.Tensor], device: torch.device, tokens: int = TOKENS
) -> list[ProductTime]:
    """Times of products with each shape among matrices (d_out, d_in) that are 2:4.

    device: of `sparse_device`. tokens: rows of X. Raises InputError when no matrix is 2:4, and
    MaskgapError when the two products differ.
    """
    shapes: dict[tuple[int, int], list[torch.Tensor]] = {}
    for weight in filter(is_two_four, weights):
        shapes.setdefault((weight.shape[0], weight.shape[1]), []).append(weight)
    if not shapes:
        raise InputError("no layer is 2:4: prune with --pattern 2:4")
    return [_times(alike[0], len(alike), device, tokens) for alike in shapes.values()]


def _times(weight: torch.Tensor, layers: int, device: torch.device, tokens: int) -> ProductTime:
    d_out, d_in = weight.shape
    dense = weight.to(device, torch.float16)
    draw = torch.Generator(device).manual_seed(0)
    inputs = torch.randn(tokens, d_in, generator=draw, device=device, dtype=torch.float16)
    with torch.no_grad():
        expected = linear(inputs, dense)
        dense_s = _seconds(lambda: linear(inputs, dense))
        try:
            packed = torch.sparse.to_sparse_semi_structured(dense)
            found = linear(inputs, packed)
        except (RuntimeError, NotImplementedError) as error:  # shapes that its tiles do not fit
            return ProductTime(d_out, d_in, layers, dense_s, None, first_line(error))
        difference = (found.float() - expected.float()).norm() / expected.float().norm()
        if not float(difference) <= NEAR:
            raise MaskgapError(
                f"{d_out} x {d_in}: the semi-structured product differs by {float(difference):.2g}"
            )
        sparse_s = _seconds(lambda: linear(inputs, packed))
    return ProductTime(d_out, d_in, layers, dense_s, sparse_s)


def _seconds(call: Callable[[], torch.Tensor]) -> float:
    """Of one call, by the device's clock."""
    event: Any = torch.cuda.Event  # torch leaves it without types
    times: list[float] = []
    for _ in range(ROUNDS + 1):
        begun, ended = (event(enable_timing=True) for _ in range(2))
        begun.record()
        for _ in range(CALLS):
            call()
        ended.record()
        torch.cuda.synchronize()
        times.append(begun.elapsed_time(ended) / 1e3 / CALLS)
    return median(times[1:])


def render(times: Sequence[ProductTime], tokens: int) -> str:
    """A table for people, and why a shape has no semi-structured product."""
    lines = [
        {
            "d_out x d_in": f"{one.d_out} x {one.d_in}",
            "layers": str(one.layers),
            "dense": f"{one.dense_s * 1e6:.1f} µs",
            "2:4": "-" if one.sparse_s is None else f"{one.sparse_s * 1e6:.1f} µs",
            "dense / 2:4": "-" if one.sparse_s is None else f"{one.dense_s / one.sparse_s:.2f}",
        }
        for one in times
    ]
    why = [f"{one.d_out} x {one.d_in}: {one.reason}" for one in times if one.reason]
    return "\n\n".join([f"{tokens} tokens, float16", markdown(lines), *why]) + "\n"


def main(words: Sequence[str] | None = None) -> None:
    """Time the 2:4 layers of a model, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m maskgap.benchmarks.models.semi_structured",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("model", help="a pruned model, as `maskgap evaluate` takes it")
    parser.add_argument("--device", default="cuda", help="torch device; it needs CUDA")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="rows of inputs")
    chosen = parser.parse_args(words)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        if chosen.tokens < 1:
            raise InputError(f"--tokens {chosen.tokens}: expected a whole number, 1 or more")
        device = sparse_device(chosen.device)
        loaded = load_model(chosen.model, say=say)
        sites = choose_linear(loaded.module, "*", loaded.absent, lambda name, reason: None)
        times = product_times([site.matrix() for site in sites], device, chosen.tokens)
        print(render(times, chosen.tokens), end="")
    except MaskgapError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
