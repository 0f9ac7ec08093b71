"""What is installed: one package with all its data, which takes nothing from where it is called."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from maskgap import __version__
from maskgap.instances.formats.files import write_layer
from maskgap.instances.sources import shipped
from tests.helpers.command import ROOT
from tests.helpers.tiny import random_layer
from tests.helpers.traps import set_traps, sprung


def _is_there(package, least=0):
    """Whether a package is installed; it is not imported, which would put its distutils first."""
    try:
        return int(version(package).partition(".")[0]) >= least
    except PackageNotFoundError:
        return False


pytestmark = pytest.mark.skipif(
    not (_is_there("pip") and _is_there("setuptools", 77)),
    reason="building and installing the wheel needs pip, and setuptools >= 77",
)

FLOORS = ("instances", "solvers", "benchmarks")
PARTS = ("pyproject.toml", "LICENSE", "README.md", ".src", *FLOORS)


def _run(*command, **more):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=250, **more)
    assert done.returncode == 0, done.stderr
    return done


def _built(kind, folder):
    """The wheel or sdist, built from a copy of the sources."""
    source = folder / "source"
    for name in PARTS:
        if (ROOT / name).is_dir():
            skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=skip)
        else:
            shutil.copy(ROOT / name, source)
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
    return folder / _run(sys.executable, "-c", code, cwd=source).stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    (folder := tmp_path_factory.mktemp("wheel")).joinpath("source").mkdir()
    return _built("wheel", folder)


@pytest.fixture(scope="module")
def binaries(tmp_path_factory, wheel):
    """The commands of another environment, where the wheel is installed beside what it needs."""
    place = tmp_path_factory.mktemp("elsewhere") / "venv"
    _run(sys.executable, "-m", "venv", "--without-pip", place)
    (site,) = place.glob("lib/python*/site-packages")
    needed = [path for path in sys.path if path.endswith("-packages")]
    (site / "needed.pth").write_text("\n".join(needed))
    python = place / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps",
         "--no-index", "--disable-pip-version-check", wheel)  # fmt: skip
    return python.parent


@pytest.fixture
def trapped(tmp_path):
    """A directory with a layer, full of traps."""
    set_traps(tmp_path)
    write_layer(tmp_path / "layer", random_layer(5, 12, rows=2))
    return tmp_path


def _environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _files(folder):
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not {"__pycache__", "timings"} & set(path.parts)
    }


def test_the_wheel_is_one_package_with_all_its_files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        links = [i.filename for i in archive.infolist() if (i.external_attr >> 28) == 0o12]
    assert {name.partition("/")[0] for name in names} == {
        "maskgap", f"maskgap-{__version__}.dist-info",
    }  # fmt: skip
    assert not links
    within = {name.removeprefix("maskgap/") for name in names if name.startswith("maskgap/")}
    face = {"__init__.py", "__main__.py", "objectives.py", "oracles.py", "py.typed"}
    assert within == face.union(*map(_files, FLOORS))


def test_the_sdist_has_real_files_and_makes_the_same_wheel(tmp_path, wheel):
    (tmp_path / "source").mkdir()
    with tarfile.open(_built("sdist", tmp_path)) as archive:
        assert not [member.name for member in archive if member.issym() or member.islnk()]
        archive.extractall(tmp_path / "again", filter="data")
    (source,) = (tmp_path / "again").iterdir()
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    _run(sys.executable, "-c", code, cwd=source)
    contents = []
    for path in (wheel, tmp_path / wheel.name):
        with zipfile.ZipFile(path) as archive:
            contents.append(
                {i.filename: i.CRC for i in archive.infolist() if "RECORD" not in i.filename}
            )
    assert contents[0] == contents[1]


def test_it_is_installed_as_a_package_alone(binaries, tmp_path):
    code = (
        "import importlib.util, maskgap\nfrom maskgap.instances.sources import shipped\n"
        "print(maskgap.__file__, maskgap.__version__)\n"
        "print(*[maskgap.read_layer(name).d_in for name in shipped.names()])\n"
        f"print([name for name in {FLOORS} if importlib.util.find_spec(name)])"
    )
    done = _run(binaries / "python", "-c", code, cwd=tmp_path, env=_environment())
    (place, version), widths, top = map(str.split, done.stdout.splitlines())
    assert Path(place).is_relative_to(binaries.parent)
    assert version == __version__
    assert len(widths) == len(shipped.names())
    assert top == ["[]"]


@pytest.mark.parametrize("way", ["script", "module"])
@pytest.mark.parametrize(
    "words",
    [
        "--version",
        "solve layer -p 50% --solver scip-miqp --out mask --proof pr",
        "solve query0-n12 -p 50% --solver exhaustive",
        "run smoke --solvers wanda,exhaustive --jobs 2 --out r",
        "run smoke --solvers wanda --executor dask --out d",
    ],
)
def test_nothing_is_taken_from_where_it_is_called(binaries, trapped, words, way):
    if "dask" in words:
        pytest.importorskip("distributed", reason="dask is not installed")
    script, module = [binaries / "maskgap"], [binaries / "python", "-m", "maskgap"]
    command = script if way == "script" else module
    _run(*command, *words.split(), cwd=trapped, env=_environment())
    assert sprung(trapped) == []
