"""Errors that a user can mend; each message names the file, the row or column, and what to do."""


class MaskgapError(Exception):
    """Base of every error raised on purpose. The command prints it as one line and exits 2."""


class InputError(MaskgapError):
    """A file, pattern, option or array is not what was expected."""


class ProofError(MaskgapError):
    """A proof is unreadable, belongs to another problem, or does not hold."""


class Refused(MaskgapError):  # noqa: N818 - a refusal is an answer, not a fault
    """A solver states in words why it does not take a problem (too large, package absent, ...)."""


def first_line(error: BaseException) -> str:
    """The first line of what an error of somebody else's says."""
    return next(iter(str(error).splitlines()), "no message")
