"""The page of a run in a browser: readable, sorted, filtered, printed, deaf to hostile names."""

import json

import pytest

from maskgap.benchmarks.reading.report.page import write_report
from tests.helpers.browser import CHROMIUM, browser
from tests.helpers.pages import HOSTILE

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
