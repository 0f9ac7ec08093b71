"""The rule of 1-swap local search (SparseSwaps, arXiv 2512.10922), kept by every implementation.

With z = 1 on pruned columns and c = G (w * z), exchanging a pruned p for a kept u of the same
budget group changes the loss z^T diag(w) G diag(w) z by

    delta(p, u) = a_p + (b_u - 2 w_p w_u G_pu),
    a_p = w_p^2 G_pp - 2 w_p c_p,     b_u = w_u^2 G_uu + 2 w_u c_u,
    c <- c + w_u G[u] - w_p G[p].

Each step takes the least delta; ties go to the lowest p, then to the lowest u. A row ends when no
delta lies below its threshold.

So that a row's bits depend on no batch, no number of threads and no device, all numbers are float64
and each is made by the same operations in the same order: products and sums apart, never fused;
c is summed over the pruned columns in ascending order. What is skipped on the way to the least
delta, and in which precision that is decided, is each implementation's own affair, as long as only
pairs are skipped that provably cannot be the one.
"""

REFRESH_SWAPS = 64
"""Swaps of a row after which c is summed afresh, so that rounding does not add up."""

IMPROVEMENT = 1e-12
"""A swap must lower the loss by this share of the row's sum of w_j^2 G_jj over pruned columns.

Below it, exact ties (duplicate columns) are decided by rounding and a search could go in circles.
"""
