"""What a part of a proof file says of itself, beside its tensors: its head, in JSON.

A head has the fields of every proof, and of the others those that its kind has (`Evidence.fields`);
that it has no more and no less is seen when it is read.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

LARGEST_NUMBER = 2**31 - 1
"""Beyond any row, height or budget."""

MOST_PASSES = 10**6

Count = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Head(BaseModel):
    """bound: hexadecimal, so that no digit is lost. budget: of a row inside a shared budget."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    row: Count
    height: Annotated[int, Field(ge=1, le=LARGEST_NUMBER)]
    problem: Digest
    kind: str
    bound: Annotated[str, Field(max_length=64)]
    passes: Annotated[int, Field(ge=0, le=MOST_PASSES)] = 0
    mask: bool
    functions: Annotated[int, Field(ge=0, le=2**15)] | None = None
    shift: Count | None = None
    budget: Count | None = None
    rows: list["Head"] | None = None


OF_KINDS = ("functions", "shift", "rows")
"""Fields that proofs of some kinds have, and others must not."""

HEADS = TypeAdapter(list[Head])
