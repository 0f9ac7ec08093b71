"""The figures of `maskgap plot` as SVG that is part of a page and takes its colours.

What is drawn is exactly what `benchmarks.reading.figures.plots` draws. Here only its form changes:
text stays text, colours become the page's own (a dark page has light axes, and lighter colours of
the same hue), styles that repeat become classes, identifiers are unique in the page, coordinates
have one decimal (marks two), and nothing points outside.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from maskgap.benchmarks.reading.figures.plots import drawn
from maskgap.benchmarks.reading.figures.style import COLOURS
from maskgap.benchmarks.runs.record import Record

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_NUMBER = re.compile(r"-?\d+\.\d+")

_THEMED = {
    **{colour.lower(): f"var(--s{place})" for place, colour in enumerate(COLOURS)},
    "#000000": "currentColor",
    "#333333": "currentColor",
    "#555555": "var(--muted)",
    "#888888": "var(--muted)",
    "#aaaaaa": "var(--axis)",
    "#dddddd": "var(--grid)",
    "#f1f1f1": "var(--lane)",
    "#ffffff": "var(--card)",
}
"""Colours of figures and what they are in a page; black, one of the solvers', is that of text."""

_OF_PAGE = ("font-family",)
"""What the page's style sheet says for all text."""


def themed(colour: str) -> str:
    """What a colour of `reading.figures.style` is in the style of a page; all else as it is."""
    return _THEMED.get(colour.lower(), colour)


@dataclass(frozen=True, slots=True)
class Drawing:
    """One figure. svg: an element without identifiers that others could have."""

    name: str
    svg: str


@dataclass(slots=True)
class Sheet:
    """The style rules of all drawings of a page, each under a class of its own."""

    classes: dict[str, str] = field(default_factory=dict)

    def of(self, style: str) -> str:
        """The class of a style attribute, '' when the page says it all."""
        parts = (part.partition(":") for part in style.split(";"))
        pairs = [(name.strip(), value.strip()) for name, _, value in parts if value]
        rule = ";".join(f"{name}:{themed(value)}" for name, value in pairs if name not in _OF_PAGE)
        return self.classes.setdefault(rule, f"m{len(self.classes)}") if rule else ""

    @property
    def css(self) -> str:
        """All rules, in the order of their first use."""
        return "\n".join(f".{name}{{{rule}}}" for rule, name in self.classes.items())


def drawings(records: Sequence[Record]) -> tuple[list[Drawing], str]:
    """The figures of cross-checked records that have something to show, and their style rules."""
    import matplotlib

    sheet = Sheet()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        found = [
            Drawing(name, inline(data, f"fig-{name}-", sheet))
            for name, data in drawn(records, "svg")
            if data is not None
        ]
    return found, sheet.css


def inline(data: bytes, prefix: str, sheet: Sheet) -> str:
    """An SVG file of matplotlib as an element of a page. prefix: of identifiers."""
    root = ET.fromstring(data)
    for name in ("metadata", "defs/style"):
        parent_path, _, tag = name.rpartition("/")
        parent = root.find(f"{_SVG}{parent_path}") if parent_path else root
        child = None if parent is None else parent.find(f"{_SVG}{tag}")
        if parent is not None and child is not None:
            parent.remove(child)
    used = {target for element in root.iter() for target in _targets(element)}
    marks = {part for defs in root.iter(f"{_SVG}defs") for part in defs.iter()}
    for element in root.iter():
        _settle(element, prefix, used, sheet, 2 if element in marks else 1)
    _prune(root)
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib |= {"viewBox": box, "aria-hidden": "true", "focusable": "false"}
    return ET.tostring(root, encoding="unicode")


def _targets(element: ET.Element) -> list[str]:
    own = [v.removeprefix("url(#").removesuffix(")") for v in element.attrib.values()
           if v.startswith("url(#")]  # fmt: skip
    return [*own, element.attrib.get(_HREF, "#").removeprefix("#")]


def _settle(element: ET.Element, prefix: str, used: set[str], sheet: Sheet, decimals: int) -> None:
    """Identifiers, style and precision of one element."""
    element.tag = element.tag.removeprefix(_SVG)
    attributes: dict[str, str] = {}
    for name, value in element.attrib.items():
        if name == "id":
            if value in used:
                attributes["id"] = prefix + value
        elif name == _HREF:
            attributes["href"] = f"#{prefix}{value.removeprefix('#')}"
        elif name == "style":
            if style := sheet.of(value):
                attributes["class"] = style
        elif value.startswith("url(#"):
            attributes[name] = value.replace("url(#", f"url(#{prefix}")
        elif name in ("d", "x", "y", "width", "height", "points"):
            attributes[name] = _shortened(value, decimals)
        else:
            attributes[name] = value
    element.attrib.clear()
    element.attrib |= attributes
    if element.tag not in ("text", "tspan"):
        element.text = None
    if element.tag != "tspan":
        element.tail = None


def _shortened(value: str, decimals: int) -> str:
    def short(match: re.Match[str]) -> str:
        return f"{float(match[0]):.{decimals}f}".rstrip("0").rstrip(".")

    return _NUMBER.sub(short, " ".join(value.split()))


def _prune(element: ET.Element) -> None:
    """Remove groups that hold nothing."""
    for child in list(element):
        _prune(child)
        if child.tag in ("g", "defs") and len(child) == 0:
            element.remove(child)
