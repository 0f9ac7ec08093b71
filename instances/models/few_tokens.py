"""Calibration with fewer tokens than a layer has columns, which is said once.

The Gram G = X X^T of t tokens has rank t at most. Where t < n there are changes of a row of weights
that cost nothing on these tokens and something on others, and a mask may choose them.
"""

from collections.abc import Callable

from maskgap.instances.layer import Layer


def few_tokens_told(say: Callable[[str], None]) -> Callable[[Layer], None]:
    """What is to see each layer: the first one with fewer tokens than columns is told of."""
    told: list[str] = []

    def see(layer: Layer) -> None:
        tokens = layer.meta.get("tokens", "")
        if told or not tokens.isdecimal() or int(tokens) >= layer.d_in:
            return
        told.append(layer.name)
        say(
            f"{layer.name} has {layer.d_in} columns and {tokens} tokens of calibration: its Gram "
            "is singular; give more --samples or a larger --sequence-length"
        )

    return see
