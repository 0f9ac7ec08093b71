"""Texts as token ids: sequences to calibrate with, windows to predict.

A tokenizer frames a text by special tokens, such as one that begins each sequence. Sequences have
the frame, as the model saw it in training: a text gives consecutive pieces of its tokens, each in a
frame of its own. A window for perplexity begins as a sequence does, because the inputs of a model
without its first token are far from any it was trained on, and ends as text, wherever it is cut.

Windows are spread over the whole text: each stretch of it gives one, from a place that a fixed seed
draws, so that many documents have a part in few windows and all windows are full.

Text of which a tokenizer does not know a fifth of the tokens says nothing about the model and is
refused.
"""

import random
import re
from collections.abc import Iterable
from typing import Any

from maskgap.instances.errors import InputError, first_line
from maskgap.instances.models.load import LoadedModel
from maskgap.instances.models.vocabulary import embedded_tokens

UNKNOWN = 0.2
"""Share of unknown tokens beyond which a text is not the tokenizer's."""

PROBE = "The"
"""A text to see what a tokenizer puts around it."""

SEED = 0
"""Of the places that windows are drawn from."""

CHARACTERS = 16
"""A text that is longer than so many characters for each token wanted is encoded in parts."""

Ids = list[int]


class Encoder:
    """The tokenizer of a model. prefix, suffix: special tokens around each sequence."""

    def __init__(self, model: LoadedModel) -> None:
        """Raise InputError for a model without a tokenizer, saying why it has none."""
        if model.tokenizer is None:
            raise InputError(
                f"{model.name}: {model.no_tokenizer}, so it needs calibration tensors "
                "(.npy or .safetensors), not texts"
            )
        self._name = model.name
        self._tokenizer: Any = model.tokenizer
        self._rows = embedded_tokens(model.module)
        self.prefix, self.suffix = self._frame()
        self._seen = self._unknown = 0

    def sequences(self, texts: Iterable[str], count: int, length: int) -> list[Ids]:
        """The first `count` sequences of at most `length` tokens, in frames; fewer if texts end.

        Raises InputError for a length without room for text, and as `first`.
        """
        room = length - len(self.prefix) - len(self.suffix)
        self._expect_room(room, length)
        found: list[Ids] = []
        for text in filter(str.strip, texts):
            ids = self.first(text, (count - len(found)) * room)
            pieces = (ids[start : start + room] for start in range(0, len(ids), room))
            found += [[*self.prefix, *piece, *self.suffix] for piece in pieces]
            if len(found) >= count:
                break
        return found

    def windows(self, texts: Iterable[str], count: int, length: int) -> list[Ids]:
        """At most `count` windows of equal length from the texts joined by blank lines.

        length: tokens of each, its prefix included; where the texts have fewer there is one shorter
        window, none if it would predict nothing. The text is cut into `count` parts of as many
        characters and each gives one window, from a place drawn at random; where one has too few
        tokens, windows follow each other from the beginning, and all or a random choice of them are
        taken. No two share text. Raises InputError as `sequences`.
        """
        room = length - len(self.prefix)
        self._expect_room(room, length)
        text = "".join(f"{one}\n\n" for one in texts)
        draw = random.Random(SEED)
        found: list[Ids] = []
        for number in range(count):
            start, stop = (len(text) * place // count for place in (number, number + 1))
            ids = self._drawn(text[start:stop], room, draw)
            if ids is None:
                found = self._consecutive(text, room)
                break
            found.append(ids)
        if len(found) > count:
            found = [found[i] for i in sorted(draw.sample(range(len(found)), count))]
        return [[*self.prefix, *ids] for ids in found if len(self.prefix) + len(ids) > 1]

    def _drawn(self, text: str, room: int, draw: random.Random) -> Ids | None:
        """So many tokens from a random place of a text, or from its beginning; None if it ends."""
        slack = len(text) - CHARACTERS * room
        for place in (int(draw.random() * slack), 0) if slack > 0 else (0,):
            ids = self.first(text[_boundary(text, place) if place else 0 :], room)
            if len(ids) == room:
                return ids
        return None

    def _consecutive(self, text: str, room: int) -> list[Ids]:
        """Full windows of a whole text, or the one shorter window that it has; none without any."""
        stream = self.first(text, len(text))
        width = min(room, len(stream))
        if not width:
            return []
        return [stream[i : i + width] for i in range(0, len(stream) - width + 1, width)]

    def first(self, text: str, count: int) -> Ids:
        """The first `count` tokens of a text without its frame; all if it has fewer.

        A long text is read only as far as it takes. Raises InputError when the tokenizer fails, or
        gives tokens that the model does not have.
        """
        end = max(1, count) * CHARACTERS
        ids: Ids = []
        while end < len(text):
            ids = self._ids(text[: _boundary(text, end)])
            if len(ids) > count:  # the last one may go on beyond the cut
                break
            end *= 4
        else:
            ids = self._ids(text)
        ids = ids[:count]
        self._seen += len(ids)
        unknown = self._tokenizer.unk_token_id
        self._unknown += sum(token == unknown for token in ids)
        if self._rows is not None and ids and max(ids) >= self._rows:
            raise InputError(
                f"{self._name}: its tokenizer gives token {max(ids)}, but the model has "
                f"{self._rows}; the tokenizer is another model's"
            )
        return ids

    def expect_known(self, source: str) -> None:
        """Raise InputError when too many of the tokens given so far are unknown."""
        if self._unknown > UNKNOWN * self._seen:
            raise InputError(
                f"{source}: {self._unknown / self._seen:.0%} of its tokens are unknown to the "
                f"tokenizer of {self._name}; give texts that it was made for, or its own tokenizer"
            )

    def names(self, ids: Ids) -> list[str]:
        """Token ids as people write them."""
        return [str(token) for token in self._tokenizer.convert_ids_to_tokens(ids)]

    def _ids(self, text: str, **options: bool) -> Ids:
        chosen = {"add_special_tokens": False, **options}
        try:
            return list(self._tokenizer(text, verbose=False, **chosen)["input_ids"])
        except Exception as error:  # each kind of tokenizer has its own errors
            first = first_line(error)
            raise InputError(
                f"{self._name}: its tokenizer fails: {type(error).__name__}: {first}"
            ) from error

    def _frame(self) -> tuple[Ids, Ids]:
        bare, framed = self._ids(PROBE), self._ids(PROBE, add_special_tokens=True)
        for start in range(len(framed) - len(bare) + 1):
            if framed[start : start + len(bare)] == bare:
                return framed[:start], framed[start + len(bare) :]
        raise InputError(
            f"{self._name}: its tokenizer reads '{PROBE}' otherwise between special tokens; "
            "give calibration tensors (.npy or .safetensors) instead of texts"
        )

    def _expect_room(self, room: int, length: int) -> None:
        if room < 1:
            special = ", ".join(self.names([*self.prefix, *self.suffix]))
            raise InputError(
                f"sequences of {length} tokens leave no room for text between the special tokens "
                f"of {self._name} ({special}); make --sequence-length larger"
            )


def _boundary(text: str, end: int) -> int:
    """The next blank after a place, before which to cut, unless it is far."""
    blank = re.compile(r"\s").search(text, end, 2 * end)
    return blank.start() if blank else end
