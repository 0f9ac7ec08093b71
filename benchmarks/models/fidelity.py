"""How near a pruned model is to the dense one, and what a language model is worth by itself.

Over the real tokens t of held-out data, with y the dense and y' the pruned model's outputs,

    error         sum_t || y_t - y'_t ||^2 / sum_t || y_t ||^2
    divergence    mean_t KL(p_t || p'_t), p the dense model's distribution of the next token, in
                  nats
    agreement     the share of t where the largest entries of p_t and p'_t are of the same token
    perplexity    exp(mean over predicted tokens of -log p(token | those before it in its window));
                  the first token of a window is not predicted
    embeddings    e = mean over the tokens of a text of its last hidden states: the mean over texts
                  of cos(e, e'), and how alike the cosines of all pairs of texts are in both models,
                  by Pearson's and Spearman's correlation

Sums are in float64, logarithms of softmax in float32 or better. Outputs that are not finite are an
error, never a number (`benchmarks.models.outputs`).
"""

from dataclasses import dataclass, field
from math import exp

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import log_softmax

from maskgap.instances.errors import InputError

LARGEST_LOG = 700.0
"""Beyond e^700 a perplexity is infinite."""

FEWEST_TEXTS = 3
"""Texts below which the pairs are too few to correlate."""


ROUNDING = 1e-12
"""Numbers whose spread is less than this share of their size do not vary."""


@dataclass(eq=False)
class RelativeError:
    """A running sum of squared differences over one of squares."""

    difference: float = 0.0
    square: float = 0.0

    def add(self, dense: torch.Tensor, pruned: torch.Tensor) -> None:
        """Take rows (tokens, features) of both models."""
        if dense.shape != pruned.shape:
            raise InputError(
                f"outputs of {tuple(pruned.shape)} cannot be compared with the dense model's "
                f"{tuple(dense.shape)}; the two must have one architecture"
            )
        self.difference += float((dense - pruned).square().sum(dtype=torch.float64))
        self.square += float(dense.square().sum(dtype=torch.float64))

    @property
    def value(self) -> float | None:
        """None when nothing was compared, or all of the dense model's is zero."""
        return self.difference / self.square if self.square > 0 else None


@dataclass(eq=False)
class Likelihood:
    """A running sum of -log p of the tokens that a language model predicts."""

    loss: float = 0.0
    predicted: int = 0

    def add(
        self, logits: torch.Tensor, ids: torch.Tensor, real: torch.Tensor | None, start: int = 0
    ) -> None:
        """Take logits (batch, positions, vocabulary) from position `start` of tokens on.

        ids, real: (batch, length), of the whole batch.
        """
        ids = ids.to(logits.device)
        known = torch.ones_like(ids, dtype=torch.bool) if real is None else real.to(ids.device)
        stop = min(start + logits.shape[1], ids.shape[1] - 1)
        if stop <= start:
            return
        chosen = known[:, start + 1 : stop + 1] & known[:, start:stop]
        scores = _wide(logits[:, : stop - start][chosen])
        picked = scores.gather(1, ids[:, start + 1 : stop + 1][chosen][:, None]).squeeze(1)
        surprise = torch.logsumexp(scores, dim=1) - picked
        self.loss += float(surprise.sum(dtype=torch.float64))
        self.predicted += int(chosen.sum())

    @property
    def perplexity(self) -> float | None:
        """None when no token was predicted; infinity beyond e^700."""
        if not self.predicted:
            return None
        mean = self.loss / self.predicted
        return exp(mean) if mean < LARGEST_LOG else float("inf")


@dataclass(eq=False)
class Divergence:
    """Running means over tokens of KL(p || p') in nats, and of whether both put the same first."""

    total: float = 0.0
    same: int = 0
    tokens: int = 0

    def add(self, dense: torch.Tensor, pruned: torch.Tensor) -> None:
        """Take logits (tokens, vocabulary) of both models."""
        for top in range(0, len(dense), 128):
            one, other = (x[top : top + 128] for x in (dense, pruned))
            p, q = log_softmax(one, dim=-1), log_softmax(other, dim=-1)
            self.total += float((p.exp() * (p - q)).sum(dtype=torch.float64))
            self.same += int((one.argmax(dim=-1) == other.argmax(dim=-1)).sum())
        self.tokens += len(dense)

    @property
    def value(self) -> float | None:
        """None without tokens; at least 0, which rounding could fall below."""
        return max(0.0, self.total / self.tokens) if self.tokens else None

    @property
    def agreement(self) -> float | None:
        """Share of tokens after which both models think the same token the likeliest."""
        return self.same / self.tokens if self.tokens else None


@dataclass(eq=False)
class Embeddings:
    """Mean-pooled embeddings of texts by both models."""

    dense: list[NDArray[np.float64]] = field(default_factory=list)
    pruned: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, dense: torch.Tensor, pruned: torch.Tensor, real: torch.Tensor | None) -> None:
        """Take hidden states (batch, length, d)."""
        weights = torch.ones(dense.shape[:2]) if real is None else real
        for states, into in ((dense, self.dense), (pruned, self.pruned)):
            share = weights.to(states.device, torch.float64)[..., None]
            mean = (states.double() * share).sum(1) / share.sum(1)
            into.extend(mean.cpu().numpy())

    def agreement(self) -> dict[str, float | int | None] | None:
        """texts, cosine, pearson, spearman; None without texts. Each None where not defined."""
        if not self.dense:
            return None
        dense, pruned = (_unit(np.stack(x)) for x in (self.dense, self.pruned))
        pearson = spearman = None
        if len(dense) >= FEWEST_TEXTS:
            upper = np.triu_indices(len(dense), 1)
            one, other = (dense @ dense.T)[upper], (pruned @ pruned.T)[upper]
            pearson = _correlation(one, other)
            from scipy.stats import rankdata

            spearman = _correlation(rankdata(one), rankdata(other))
        cosine = float((dense * pruned).sum(axis=1).mean())
        return {
            "texts": len(dense), "cosine": cosine, "pearson": pearson, "spearman": spearman
        }  # fmt: skip


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0))


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    """Pearson's; None when one of the two does not vary."""
    a, b = one - one.mean(), other - other.mean()
    spread = [np.linalg.norm(x - x.mean()) / (np.linalg.norm(x) or 1.0) for x in (one, other)]
    if min(spread) < ROUNDING:
        return None
    return float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
