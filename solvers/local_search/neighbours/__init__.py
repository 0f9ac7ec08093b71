"""Local search on parts whose masks are not those of equal budget groups: one neighbourhood a file.

`parts` chooses: sets that are a budget over blocks or over free columns become equal groups
(`reduced`) and are left to `solvers.local_search.memetic`; transposable tiles are searched by
alternating cycles (`cycles`), all others by exchanges that stay legal (`exchanges`), both in
populations (`population`).
"""
