"""A directory whose files have the names of modules: whatever imports one of them springs it."""

TRAPS = (
    "numpy.py", "random.py", "torch.py", "scipy.py", "typer.py", "rich.py", "numba.py", "pickle.py",
    "json.py", "sitecustomize.py", "socket.py", "distributed.py", "psutil.py", "instances.py",
    "solvers/__init__.py", "benchmarks/__init__.py", "instances/__init__.py",
)  # fmt: skip


def set_traps(folder):
    """Fill a folder with traps; those that are imported are named in its file `sprung`."""
    for name in TRAPS:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"open({str(folder / 'sprung')!r}, 'a').write({name!r} + ' ')\n")


def sprung(folder):
    """The traps that were imported."""
    path = folder / "sprung"
    return path.read_text().split() if path.exists() else []
