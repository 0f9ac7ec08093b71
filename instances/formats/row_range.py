"""Ranges of rows as people write them: A:B, from row A to the row before B."""

from maskgap.instances.errors import InputError


def parse_rows(text: str, d_out: int) -> range:
    """The half-open range 'A:B' of rows. Raises InputError."""
    first, colon, last = text.partition(":")
    try:
        rows = range(int(first or 0), int(last) if last else d_out)
    except ValueError:
        rows = range(0)
    if not colon or not 0 <= rows.start < rows.stop <= d_out:
        raise InputError(f"rows '{text}': write A:B with 0 <= A < B <= {d_out}")
    return rows
