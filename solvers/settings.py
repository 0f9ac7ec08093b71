"""Settings of solvers: fields with a type, range or choices, and meaning, checked by pydantic.

A solver is a frozen dataclass and its fields are its settings. Those of this package are made by
`settings`, so that no solver with a setting out of range exists, and say what each is for in the
text below it:

    @settings
    class Mine:
        strength: Annotated[int, Field(ge=1)] = 3
        \"\"\"How strong.\"\"\"

A plain dataclass of a user's own does as well: its values are checked against its annotations.

Values from a command are texts, those of a suite what its file has. Each is read as what it is and,
failing that, as a text, true or false, a whole number, a number: whatever the type takes first.
Types are taken strictly, so nothing is cut off: 1.5 is no whole number, and true is none either.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform, get_type_hints

import pydantic.dataclasses
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from maskgap.instances.errors import InputError
from maskgap.instances.suggestions import did_you_mean

T = TypeVar("T")

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A finite number of 0 or more."""

Count = Annotated[int, Field(ge=0)]
"""A whole number of 0 or more."""

Positive = Annotated[int, Field(ge=1)]
"""A whole number of 1 or more."""

Limit = Annotated[int, Field(ge=-1)]
"""A whole number of 0 or more, or -1 for no limit."""

Score = Literal["magnitude", "wanda", "ria", "obs", "random"]
"""The scores of `solvers.one_shot.scores`."""

WarmStart = Literal[Score, "none"]
"""The score whose mask a solver starts from where a problem brings none; 'none': no mask."""

_STRICT = ConfigDict(strict=True)


@dataclass_transform(frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """A frozen dataclass that is made with settings in range only, else InputError is raised."""
    config = ConfigDict(**_STRICT, extra="forbid", use_attribute_docstrings=True)
    made: Any = pydantic.dataclasses.dataclass(frozen=True, config=config)(cls)
    make = made.__init__

    @functools.wraps(make)
    def checked(self: T, *args: Any, **kwargs: Any) -> None:
        try:
            make(self, *args, **kwargs)
        except ValidationError as error:
            first = error.errors()[0]
            where, value = first["loc"][0], first["input"]
            fields = dataclasses.fields(made)
            name = fields[where].name if isinstance(where, int) and where < len(fields) else where
            known = {s.name: s.expects for s in described(made)}
            expects = known.get(str(name), "no such setting")
            raise InputError(f"{cls.__name__}: {name}={value}: expected {expects}") from None

    made.__init__ = checked
    return made  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a solver.

    default: its value, None where there is none. expects: what it takes, in words. minimum,
    maximum: ends of its range that belong to it, None where it has none. choices: empty where its
    values are not listed. meaning: one line, empty where its solver says nothing.
    """

    name: str
    default: object
    expects: str
    minimum: float | None
    maximum: float | None
    choices: tuple[object, ...]
    meaning: str


@functools.cache
def described(factory: type) -> tuple[Setting, ...]:
    """The settings of a solver's class, in their order.

    Raises InputError for an annotation that is no type, or none that can be checked.
    """
    hints = _annotations(factory.__name__, factory)
    found = []
    for field in dataclasses.fields(factory):
        schema = _schema(factory, field.name, hints[field.name])
        missing = field.default is dataclasses.MISSING
        found.append(
            Setting(
                field.name,
                None if missing else field.default,
                _in_words(schema),
                schema.get("minimum"),
                schema.get("maximum"),
                tuple(schema.get("enum", ())),
                _meaning(factory, field.name),
            )
        )
    return tuple(found)


def checked_values(name: str, factory: type, given: Mapping[str, object]) -> dict[str, object]:
    """The settings given to the solver called `name`, each as the type of its field.

    Raises InputError for one that it does not have, or that is not what is expected.
    """
    hints = _annotations(name, factory)
    known = {field.name: hints[field.name] for field in dataclasses.fields(factory)}
    values: dict[str, object] = {}
    for key, value in given.items():
        if key not in known:
            have = ", ".join(known) or "none"
            raise InputError(
                f"solver '{name}' has no setting '{key}'; its settings: {have}"
                f"{did_you_mean(key, known)}"
            )
        try:
            values[key] = _read(_adapter(factory, key, known[key]), value)
        except ValidationError:
            expects = _in_words(_schema(factory, key, known[key]))
            text = str(value).strip()
            raise InputError(f"solver '{name}': setting {key}={text}: expected {expects}") from None
    return values


def not_made(name: str, error: Exception) -> InputError:
    """What to raise when the class of a solver cannot be used, in one line."""
    text = (str(error).splitlines() or [""])[0]
    return InputError(f"solver '{name}' cannot be made: {type(error).__name__}: {text}")


def _annotations(name: str, factory: type) -> dict[str, Any]:
    try:
        return get_type_hints(factory, include_extras=True)
    except Exception as error:  # annotations of the user's own may name anything
        raise not_made(name, error) from error


def _read(adapter: TypeAdapter[Any], value: object) -> object:
    """The value as the adapter's type. Raises ValidationError."""
    failure: ValidationError | None = None
    for reading in _readings(value):
        try:
            return adapter.validate_python(reading)
        except ValidationError as error:
            failure = failure or error
    assert failure is not None  # a value has a reading: itself
    raise failure


def _readings(value: object) -> Iterator[object]:
    """What a value may be meant as, the nearest first."""
    text = str(value).strip()
    yield text if isinstance(value, str) else value
    if not isinstance(value, str):
        yield text
    if text.lower() in ("true", "false"):
        yield text.lower() == "true"
    for number in (int, float):
        try:
            yield number(text)
        except ValueError:
            continue


def _adapter(factory: type, name: str, annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=_STRICT)
    except PydanticUserError as error:
        raise InputError(
            f"solver '{factory.__name__}': setting {name} cannot be checked: a setting is a "
            "number, a text, true or false"
        ) from error


def _schema(factory: type, name: str, annotation: Any) -> dict[str, Any]:
    try:
        return _adapter(factory, name, annotation).json_schema()
    except PydanticUserError:
        return {}


def _meaning(factory: type, name: str) -> str:
    """The text below the field in the class that has it, on one line."""
    for base in factory.__mro__:
        info = vars(base).get("__pydantic_fields__", {}).get(name)
        if info is not None and info.description:
            return " ".join(info.description.split())
    return ""


_NOUNS = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "null": "none",
}


def _in_words(schema: Mapping[str, Any]) -> str:
    """What a JSON schema takes: 'a whole number of at least 1', 'one of eig, none'."""
    if "enum" in schema:
        return f"one of {', '.join(str(choice) for choice in schema['enum'])}"
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        return " or ".join(_in_words(one) for one in schema["anyOf"])
    noun = _NOUNS.get(str(schema.get("type")), "another value")
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if least is not None and most is not None:
        return f"{noun} from {least:g} to {most:g}"
    ends = [
        f"{word} {end:g}"
        for word, end in (
            ("of at least", least), ("above", above), ("of at most", most), ("below", below),
        )
        if end is not None
    ]  # fmt: skip
    return " ".join([noun, " and ".join(ends)]) if ends else noun
