"""Pages of runs: what one is made of, what it may name, and names that are hostile to it."""

import json
from html.parser import HTMLParser

from tests.helpers.records import (
    record,
    wrong,
)

SOLVERS = ("exhaustive", "random", "wanda", "obs", "scip-miqp", "qp-bound")
"""Of the run that a page is made of."""

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source",
        "track", "wbr"}  # fmt: skip

HOSTILE = (
    "</script><script>window.hit=1</script>",
    '"><img src=x onerror="window.hit=1">',
    "{{ 7*7 }}{% raw %}",
    "<!--",
    r"$\frac{x} & \$",
    "a\u202eb\x07c\u2028d",
    "漢字 é",
)


class Walk(HTMLParser):
    """What a page is made of. Fails on a tag that closes another, or none."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.attributes, self.texts, self.scripts = [], [], [], []
        self.tags = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("script", "style"):
            self.scripts.append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            self.scripts[-1] += data
        else:
            self.texts.append(data)

    def values(self, *names):
        return [value for _, name, value in self.attributes if name in names]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self):
        return next(json.loads(s) for s in self.scripts if s.startswith("{"))


def hostile_run():
    """Every name that a records file can hold, and every text of a failure, is hostile."""
    found = []
    groups = ["".join(HOSTILE[:4]), "".join(HOSTILE[4:])]
    for i, name in enumerate(HOSTILE):
        host = {"processor": name, "cores": 2, "python": name}
        own = {"group": groups[i // 4], "instance": name, "suite": name, "host": host,
               "packages": {name: name}, "layer_type": name}  # fmt: skip
        problem = f"p{i}{name}"
        found += [
            record("wanda", problem, 9.0, pruned=[0, 1, 2, 3], **own),
            record(f"mod:{name}", problem, 8.0, settings={name: name}, notes={name: name},
                   trace=[(0.1, 9.0, None), (0.2, 8.0, None)], pruned=[4, 5, 6, 7], **own),
            record("obs", problem, None, stop="crashed", reason=name, exception=name,
                   traceback=f"{name}\n  {name}", **own),
            wrong("scip-miqp", problem, 8.0, reason=name, **own),
        ]  # fmt: skip
    return found


def self_contained(text):
    """The page names nothing outside itself, and is well formed."""
    page = Walk(text)
    assert all(value.startswith("#") or value == "data:," for value in page.values("href"))
    assert page.values("src", "srcset", "action", "data", "poster", "background") == []
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    identifiers = page.values("id")
    assert len(identifiers) == len(set(identifiers))
    targets = {value.removeprefix("#") for value in page.values("href") if value != "data:,"}
    targets |= {v.partition("url(#")[2].rstrip(")") for v in page.values("clip-path")}
    targets |= set(page.values("aria-labelledby"))
    assert targets <= set(identifiers)
    styles = [s for s in page.scripts if s.lstrip().startswith(":root")]
    assert len(styles) == 1
    assert "@import" not in styles[0]
    assert "url(" not in styles[0]
    return page
