"""Texts of a data set that the package `datasets` knows by name.

    datasets:NAME[,CONFIG][,split=SPLIT]        as datasets:Salesforce/wikitext,wikitext-2-raw-v1

stands where the path of a file of texts may. SPLIT is `train` when left out, and may be a part of
one, as `datasets` writes it: `train[:1%]`. A data set that is not in the cache of that package is
fetched by it, if the network lets it; no code of a data set is run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maskgap.instances.errors import InputError, first_line
from maskgap.instances.models.packed_texts import column_of, package

PREFIX = "datasets:"
FORM = f"{PREFIX}NAME[,CONFIG][,split=SPLIT]"
SPLIT = "train"

NO_NETWORK = ("ConnectionError", "OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectError")
"""Errors, by class name, that say that data are neither here nor to be had."""


def is_named(path: Path) -> bool:
    """Whether what stands for a file names a data set."""
    return str(path).startswith(PREFIX)


def out_of_reach(error: BaseException) -> bool:
    """Whether an error is that data are not here and cannot be fetched."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ in NO_NETWORK:
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def named_texts(path: Path) -> Iterator[str]:
    """The column "text" of a named data set.

    Raises InputError for a name of another form, without the package, and for what it cannot load.
    """
    name, config, split = _parsed(path)
    datasets = package("datasets", "datasets", path)
    options = {} if int(datasets.__version__.split(".")[0]) >= 4 else {"trust_remote_code": False}
    try:
        with _quiet(datasets):
            found = datasets.load_dataset(name, config, split=split, **options)
    except Exception as error:  # whatever the data set or the network makes it raise
        if out_of_reach(error):
            raise InputError(
                f"{path}: is neither in the cache of datasets nor to be had from the network"
            ) from error
        raise InputError(f"{path}: cannot be loaded by datasets: {first_line(error)}") from error
    yield from column_of(found, path)


def _parsed(path: Path) -> tuple[str, str | None, str]:
    """Name, configuration and split."""
    name, *rest = str(path).removeprefix(PREFIX).split(",")
    configs = [word for word in rest if "=" not in word]
    splits = [word.removeprefix("split=") for word in rest if word.startswith("split=")]
    told = [name, *configs, *splits]
    if len(configs) > 1 or len(splits) > 1 or len(told) <= len(rest) or not all(told):
        raise InputError(f"{path}: expected {FORM}")
    return name, next(iter(configs), None), next(iter(splits), SPLIT)


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """No bars and warnings of datasets while it loads."""
    logging, verbosity = datasets.logging, datasets.logging.get_verbosity()
    bars = datasets.are_progress_bars_disabled()
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if not bars:
            datasets.enable_progress_bars()
