"""The page of a run: self-contained, complete, the tables' numbers, and safe whatever names say."""

import base64
import json
from html.parser import HTMLParser

import numpy as np
import pytest

from maskgap.benchmarks.reading.contest import contests
from maskgap.benchmarks.reading.report.overview import outcome, problem_counts, run_counts
from maskgap.benchmarks.reading.report.page import render_page, write_report
from maskgap.benchmarks.reading.report.problems import RUN_COLUMNS, STEPS, embedded
from maskgap.benchmarks.reading.statistics import summarise
from maskgap.benchmarks.reading.tables.summary import problem_frame, shown_summary
from maskgap.benchmarks.reading.typeset import percent
from maskgap.benchmarks.runs.cross_check import cross_check
from maskgap.benchmarks.runs.record_file import load_run
from maskgap.instances.formats.printable import visible
from tests.helpers.browser import CHROMIUM, browser
from tests.helpers.command import maskgap
from tests.helpers.records import (
    choices_run,
    closed,
    full_run,
    mixed_run,
    old_line,
    record,
    write,
    wrong,
)

SOLVERS = ("exhaustive", "random", "wanda", "obs", "scip-miqp", "qp-bound")

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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a suite that was run here."""
    directory = tmp_path_factory.mktemp("run")
    maskgap("run", "smoke", "--solvers", ",".join(SOLVERS), "--out", directory, code=0, timeout=250)
    return directory


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return write_report(write(tmp_path_factory.mktemp("full"), full_run()))


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


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return write_report(write(tmp_path_factory.mktemp("hostile"), hostile_run()))


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


# What is on it.


def test_a_real_run_is_all_there_in_one_file(run):
    before = sorted(run.iterdir())
    path = write_report(run)
    assert path == run / "report.html"
    assert set(run.iterdir()) - set(before) == {path}  # no figures or tables beside it
    page = self_contained(path.read_text())
    records = cross_check(load_run(run))
    (contest,) = contests(records)
    for solver in SOLVERS:
        assert solver in page.text
    assert "Every solver on the smallest rows" in page.text  # the suite's description
    assert page.tags.count("figure") == 5
    problems = page.data["problems"]
    assert len(problems) == len(contest.problems) == 6
    assert sum(len(p["runs"]) for p in problems) == len(records) == 48
    for name, version in records[0].packages.items():
        assert f"{name} {version}" in page.text


def test_its_numbers_are_those_of_the_tables(run):
    records = cross_check(load_run(run))
    (contest,) = contests(records)
    page = Walk(render_page(records))
    for line in shown_summary(contest):
        cells = " ".join(v for k, v in line.items() if k in ("solver", "solved"))
        assert cells in page.text
    for summary in summarise(contest):
        if summary.certified_gap is not None:
            assert f"{summary.contender} {percent(summary.certified_gap)}" in page.text
    for found, (_, row) in zip(
        page.data["problems"], problem_frame(contest).iterrows(), strict=True
    ):
        cells = dict(zip(page.data["columns"], found["cells"], strict=True))
        assert cells["verdict"] == row["verdict"]
        assert cells["least error"] == f"{row['least error']:.6g}"
        assert cells["certified gap"] == percent(row["certified gap"])


def test_masks_are_those_of_the_records(run):
    records = cross_check(load_run(run))
    groups = contests(records)
    found = embedded(groups)["problems"]
    for problem, digest in zip(found, groups[0].problems, strict=True):
        shown = {}
        for bits, names, apart, _ in problem["masks"]:
            data = np.frombuffer(base64.b64decode(bits), dtype=np.uint8)
            pruned = [int(j) for j in np.flatnonzero(np.unpackbits(data)[: problem["n"]] == 0)]
            shown |= dict.fromkeys(names, (pruned, apart))
        mine = [r for r in records if r.problem == digest and r.pruned is not None]
        best = set(min(mine, key=lambda r: r.objective).pruned)
        assert len(shown) == len(mine)
        for r in mine:
            name = r.solver + (f", seed {r.seed}" if r.seed else "")
            assert shown[name] == (r.pruned, len(best ^ set(r.pruned)))


def test_every_run_is_counted_once_and_as_the_tables_count_it():
    for records in (full_run(), mixed_run()):
        groups = contests(cross_check(records))
        counts = {c.name: c.count for c in run_counts(groups)}
        missing = sum(s.fates["not run"] for c in groups for s in summarise(c))
        assert sum(counts.values()) == len(records) + missing
        for contest in groups:
            chosen = [e for c in contest.contenders for _, e in contest.of(c) if e is not None]
            told = [outcome(entry) for entry in chosen]
            summaries = summarise(contest)
            for word in ("wrong", "crashed", "refused"):
                assert told.count(word) == sum(s.fates[word] for s in summaries)
            for word in ("proved", "closed"):
                assert told.count(word) == sum(s.verdicts[word] for s in summaries)
        assert sum(c.count for c in problem_counts(groups)) == sum(len(c.problems) for c in groups)


def test_wrong_and_crashed_runs_come_first_with_their_reasons(full):
    page = Walk(full.read_text())
    text = page.text
    assert "2 wrong, 2 crashed" in text
    places = ("Look at this first", "wrong highs-oa on layer-n32", "crashed highs-milp on",
              "Of 16 rows", "Certified gaps How far")  # fmt: skip
    assert [text.index(place) for place in places] == sorted(text.index(p) for p in places)
    assert "signal 11" in text
    assert "No run was refuted" not in text
    quiet = Walk(render_page([record("wanda")])).text
    assert "Look at this first" not in quiet
    assert "No run was refuted and none crashed." in quiet


def test_a_refuted_bound_is_told_from_one_that_stands():
    records = [wrong("scip-miqp", "p0", 5.0), closed("exhaustive", "p0", 5.0)]
    (problem,) = embedded(contests(cross_check(records)))["problems"]
    by_name = {line[0]: dict(zip(RUN_COLUMNS, line, strict=True)) for line in problem["runs"]}
    assert by_name["scip-miqp"]["bound kind"] == "claimed, refuted"
    assert by_name["scip-miqp"]["verdict"] == "wrong"
    assert by_name["exhaustive"]["bound kind"] == "claimed"
    assert "No bound of it was checked" in problem["certain"]


def test_traces_improve_and_are_thinned_with_both_ends_kept():
    steps = [(0.01 * (i + 1), 1000.0 - i, float(i)) for i in range(500)]
    (problem,) = embedded(contests([closed("scip-miqp", "p0", 501.0, solve_s=9.0, trace=steps)]))[
        "problems"
    ]
    ((_, _, masks, bounds),) = problem["traces"]
    assert len(masks) == len(bounds) == 2 * STEPS
    assert masks[:2] == [0.01, 1000.0]
    assert masks[-1] == 501.0
    assert bounds[-1] == 501.0
    assert masks[1::2] == sorted(masks[1::2], reverse=True)
    assert bounds[1::2] == sorted(bounds[1::2])


def test_layers_have_no_mask_to_draw_and_say_so():
    records = [record(s, "p0", 9.0, rows=48, mask_digest=s, time_limit_s=480.0)
               for s in ("wanda", "swap")]  # fmt: skip
    page = Walk(render_page(records))
    (problem,) = page.data["problems"]
    assert "masks" not in problem
    assert problem["digests"] == 2
    assert "rows 0 to 47" in problem["about"]
    assert "1 layers" in page.text


def test_settings_have_their_table():
    page = self_contained(render_page(choices_run()))
    assert "choices: settings of fw-bnb" in page.text
    assert "fw-bnb [convexify=sdp]" in page.text


@pytest.mark.parametrize("records", [
    [record("wanda", objective=0.0)],
    [record("scip-miqp", objective=None, stop="time")],
    [record("qp-bound", objective=None, bound=1.0, bound_kind="checked")],
    [record("retired-solver", objective=3.0, stop="iterations", bound_kind=None,
            bound=None)],
    [record("wanda", group="", suite="", packages={})],
    [record("wanda", pruned=[0, 99])],
    [wrong("scip-miqp", "p0", 3.0)],
])  # fmt: skip
def test_poor_runs_have_a_page(records):
    self_contained(render_page(records))


def test_an_older_record_beside_a_new_one_is_shown(tmp_path):
    directory = write(tmp_path / "run", [record("wanda")])
    with (directory / "records.jsonl").open("a") as file:
        file.write(old_line())
    page = self_contained(write_report(directory).read_text())
    assert "scip-miqp" in page.text


def test_the_same_records_give_the_same_bytes(tmp_path):
    first = write_report(write(tmp_path / "a", mixed_run())).read_bytes()
    second = write_report(write(tmp_path / "b", mixed_run())).read_bytes()
    assert first == second


def test_size_grows_by_little_for_a_run():
    """A suite of thousands of runs stays a page: under 700 bytes a run, masks and traces in."""

    def many(rows):
        steps = [(0.1, 900.0, None), (0.3, 5.0, None)]
        return [
            record(s, f"p{i}", 5.0 + i, key=f"{s}{i}", n=384, trace=steps,
                   pruned=list(range(k % 2, 384, 2)))
            for i in range(rows) for k, s in enumerate(("wanda", "swap", "obs", "ria"))
        ]  # fmt: skip

    data = [len(json.dumps(embedded(contests(many(rows))))) for rows in (50, 250)]
    assert (data[1] - data[0]) / 800 < 700


# Names.


def test_nothing_that_records_hold_is_markup(hostile):
    text = hostile.read_text()
    page = self_contained(text)
    assert "img" not in page.tags
    assert page.tags.count("script") == 2
    assert "49" not in [t.strip() for t in page.texts]
    for name in HOSTILE:
        told = visible(name)
        assert " ".join(told.split()) in page.text
        assert any(told in cell for p in page.data["problems"] for cell in p["cells"])
    assert not set("\u202e\x07\u2028") & set(text)


def test_what_cannot_be_seen_is_an_escape():
    assert visible("a\u202eb\x00") == r"a\u202eb\x00"
    assert visible("漢字\té\n<b>", "\t\n") == "漢字\té\n<b>"


def test_the_page_runs_no_script_but_its_own():
    """The policy names the script by its hash, so one that slipped in would not run."""
    page = Walk(render_page([record("wanda")]))
    policy = next(v for v in page.values("content") if v.startswith("default-src"))
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "script-src 'unsafe" not in policy


# The command.


def test_the_command_prints_where_the_page_is(tmp_path):
    directory, out = write(tmp_path / "run", [record()]), tmp_path / "elsewhere" / "page.html"
    for words, path in (((), directory / "report.html"), (("--out", str(out)), out)):
        done = maskgap("report", directory, *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}\n", "")
        assert path.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(("prepare", "expected"), [
    (lambda path: None, "cannot be read"),
    (lambda path: path.mkdir(), "cannot be read"),
    (lambda path: (path.mkdir(), (path / "records.jsonl").touch()), "holds no record yet"),
])  # fmt: skip
def test_without_records_there_is_one_line_and_exit_2(tmp_path, prepare, expected):
    prepare(tmp_path / "run")
    done = maskgap("report", tmp_path / "run")
    assert done.returncode == 2
    assert done.stdout == ""
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run" / "report.html").exists()


# In a browser.

in_a_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the path: the page is not looked at in a browser"
)

OPEN_ALL = """(async () => {
  for (const d of document.querySelectorAll('details')) d.open = true;
  await new Promise(done => setTimeout(done, 200));
  return document.querySelectorAll('#sections > details > .body').length;
})()"""

OUTSIDE = """[...document.querySelectorAll('body *')].filter(e =>
  !e.closest('.scroll, pre, .skip') && e.getBoundingClientRect().right > innerWidth + 0.5)
  .map(e => e.outerHTML.slice(0, 120))"""

PALE = """(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 0.03928 * 255 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = parts(getComputedStyle(e).backgroundColor);
      if (colour.length === 3) return colour;
    }
    throw new Error('nothing has a ground');
  };
  const written = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  const pale = new Set();
  for (const e of document.querySelectorAll('body *:not(script, style, noscript)')) {
    if (!e.checkVisibility() || !written(e)) continue;
    const style = getComputedStyle(e);
    const own = light(parts(e instanceof SVGElement ? style.fill : style.color));
    const behind = light(ground(e));
    const ratio = (Math.max(own, behind) + 0.05) / (Math.min(own, behind) + 0.05);
    if (ratio < 4.5) pale.add(`${e.tagName} ${e.getAttribute('class')} ${ratio.toFixed(2)}`);
  }
  return [...pale];
})()"""

SORTED = """(name) => {
  const table = [...document.querySelectorAll('table.sortable')].find(t =>
    t.caption.textContent.startsWith('solvers, wide'));
  const place = [...table.tHead.rows[0].cells].findIndex(c => c.textContent === name);
  const cell = table.tHead.rows[0].cells[place];
  const read = () => [cell.getAttribute('aria-sort'),
    [...table.tBodies[0].rows].map(r => r.cells[place].textContent)];
  const button = cell.querySelector('button');
  button.click(); const up = read(); button.click(); return [up, read(),
    table.querySelectorAll('th[aria-sort]').length];
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@in_a_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_is_readable_at_every_width_in_light_and_dark(page, full, tmp_path, width, dark):
    page.open(full, width, 800, dark)
    assert page.run(OPEN_ALL) == 16
    assert page.faults() == []
    assert page.asked() == [full.as_uri()]
    assert page.run("document.documentElement.scrollWidth") == width
    assert page.run(OUTSIDE) == []
    assert page.run(PALE) == []
    shot = page.screenshot()
    assert shot.startswith(b"\x89PNG")
    (tmp_path / "page.png").write_bytes(shot)
    colours = page.run("getComputedStyle(document.body).backgroundColor")
    assert (colours == "rgb(255, 255, 255)") is not dark


def _value(text):
    return float(text.lstrip("<≥ ").split()[0])


@in_a_browser
@pytest.mark.parametrize("name", ["time (s)", "certified gap", "error / wanda", "solved", "closed"])
def test_numbers_sort_as_numbers_and_what_is_missing_comes_last(page, full, name):
    page.open(full)
    (up, rising), (down, falling), marked = page.run(f"({SORTED})({json.dumps(name)})")
    assert (up, down, marked) == ("ascending", "descending", 1)
    for texts, reverse in ((rising, False), (falling, True)):
        told = [text for text in texts if text != "-"]
        assert len({_value(text) for text in told}) > 1
        assert texts == told + ["-"] * (len(texts) - len(told))
        assert [*map(_value, told)] == sorted(map(_value, told), reverse=reverse)
    assert sorted(rising) == sorted(falling)


@in_a_browser
def test_words_sort_as_words_and_keys_will_do(page, full):
    page.open(full)
    page.run(
        """(() => { const b = document.querySelector('#all-problems th button'); b.focus(); })()"""
    )
    for expected in ("ascending", "descending"):
        page.press("Enter", 13)
        state = page.run("document.activeElement.parentElement.getAttribute('aria-sort')")
        assert state == expected
    names = page.run(
        "[...document.querySelectorAll('#all-problems tbody a')].map(a => a.textContent)"
    )
    assert names[:2] == ["layer-n160", "layer-n160"]
    assert names[-2:] == ["layer-n12", "layer-n12"]


@in_a_browser
def test_a_problem_is_drawn_when_it_is_opened_and_not_before(page, run):
    page.open(write_report(run))
    assert page.run("document.querySelectorAll('#sections .body').length") == 0
    page.run("document.querySelector('#all-problems tbody a').click()")
    page.run("new Promise(done => setTimeout(done, 100))")
    assert page.run("location.hash") == "#problem-0"
    section = "document.querySelector('#problem-0')"
    assert page.run(f"{section}.open")
    assert page.run(f"{section}.querySelectorAll('.body table')[0].tBodies[0].rows.length") == 8
    assert page.run(f"{section}.querySelectorAll('.masks svg').length") >= 2
    assert page.run(f"{section}.querySelectorAll('.chart svg g').length") >= 1
    assert page.run("document.querySelectorAll('#sections .body').length") == 1
    page.run(f"(() => {{ {section}.querySelector('.keys button').click(); }})()")
    assert page.run(f"{section}.querySelector('.keys [aria-pressed=true]') !== null")
    assert page.faults() == []


@in_a_browser
def test_a_table_wider_than_the_screen_says_what_lies_beyond(page, full):
    more = "[...document.querySelectorAll('.scroll')].map(e => e.dataset.more || '')"
    page.open(full, 390, 844)
    page.run("new Promise(done => setTimeout(done, 200))")
    assert any("more column" in text for text in page.run(more))
    page.run("document.querySelectorAll('.scroll').forEach(e => { e.scrollLeft = 1e4; })")
    page.run("new Promise(done => setTimeout(done, 200))")
    assert not any(page.run(more))
    assert page.faults() == []


@in_a_browser
def test_the_filter_keeps_table_and_sections_alike(page, full):
    page.open(full)
    shown = "[...document.querySelectorAll('{}')].filter(e => e.checkVisibility()).length"
    count = "[{}, {}]".format(
        shown.format("#all-problems tbody tr"), shown.format("#sections > details")
    )
    assert page.run(count) == [16, 16]
    page.run("""(() => { const f = document.getElementById('filter'); f.value = 'n12 2:4';
        f.dispatchEvent(new Event('input')); })()""")
    assert page.run(count) == [1, 1]
    assert page.run("document.getElementById('shown').textContent") == "1 of 16"


@in_a_browser
def test_paper_has_the_sections_of_a_small_run_and_no_controls(page, full):
    page.open(full)
    data = page.pdf()
    assert data.startswith(b"%PDF")
    assert page.run("document.querySelectorAll('#sections .body').length") == 16  # filled to print
    assert (
        page.run("document.querySelectorAll('#sections > details[open]').length") == 0
    )  # and shut
    page.open(full, media="print")
    assert page.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.run("getComputedStyle(document.querySelector('tbody th')).position") == "static"


@in_a_browser
def test_hostile_names_do_nothing_in_a_browser(page, hostile):
    page.open(hostile, 360)
    assert page.run(OPEN_ALL) == len(HOSTILE)
    assert page.run("window.hit === undefined")
    assert page.run("document.querySelectorAll('img').length") == 0
    assert page.run("document.documentElement.scrollWidth") == 360
    assert page.faults() == []
