"""The page of a run: self-contained, complete, the tables' numbers, and safe whatever names say."""

import base64
import json

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
from tests.helpers.command import maskgap
from tests.helpers.pages import HOSTILE, SOLVERS, Walk, self_contained
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
