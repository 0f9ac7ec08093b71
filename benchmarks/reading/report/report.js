"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const ALL_OPEN_IN_PRINT = 24;
  const MASKS_AT_FIRST = 8;
  const data = JSON.parse(document.getElementById("data").textContent);

  // Elements are made from text, never from markup.
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
  function draw(tag, attributes, ...children) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
  const badge = (word) =>
    make("span", { class: `badge v-${word.replace(/\W+/g, "-")}` }, word);

  // Sorting: what a cell says is what it is sorted by.
  const NUMBER = /^([<≥≤]\s*)?(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?=$|\s|%|†)/i;
  const PARTS = /^\d+ [a-z ]+(, \d+ [a-z ]+)*$/;

  // The number in a cell: 12.3 % is 12.3, "2 refused, 1 crashed" is 3; null where there is none.
  function value(text) {
    if (PARTS.test(text)) return text.split(", ").reduce((sum, part) => sum + parseInt(part, 10), 0);
    const found = NUMBER.exec(text);
    if (!found) return null;
    const number = parseFloat(found[2]);
    return (found[1] || "").startsWith("<") ? number * 0.999 : number;
  }
  const missing = (text) => text === "-" || text === "";

  function isNumeric(texts) {
    const told = texts.filter((text) => !missing(text));
    return told.every((text) => value(text) !== null);
  }

  // Compares two cells; missing ones come last in either direction.
  function compare(a, b, numeric, sign) {
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    const order = numeric ? value(a) - value(b) : a.localeCompare(b, "en", { numeric: true });
    return sign * order;
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, place) => {
      const body = table.tBodies[0];
      const texts = [...body.rows].map((row) => row.cells[place].textContent.trim());
      const numeric = isNumeric(texts);
      if (!numeric) {
        head.classList.add("text");
        for (const row of body.rows) {
          const cell = row.cells[place];
          cell.classList.add("text");
          if (cell.textContent.length > 60) cell.classList.add("long");
        }
      }
      const button = make("button", { type: "button" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const falls = head.getAttribute("aria-sort") === "ascending";
        const sign = falls ? -1 : 1;
        const rows = [...body.rows].map((row) => [row, row.cells[place].textContent.trim()]);
        rows.sort((a, b) => compare(a[1], b[1], numeric, sign));
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", falls ? "descending" : "ascending");
        body.append(...rows.map(([row]) => row));
      });
    });
  }

  // A table of text; cell(text, column, line) may make something else of a cell.
  function table(caption, columns, lines, cell = (text) => text) {
    const head = make("tr", {}, ...columns.map((name) => make("th", { scope: "col" }, name)));
    const rows = lines.map((line, place) =>
      make("tr", {}, ...line.map((text, column) =>
        make(column ? "td" : "th", column ? {} : { scope: "row" }, cell(text, columns[column], place)))));
    const made = make("table", { class: "sortable" }, make("caption", {}, caption),
      make("thead", {}, head), make("tbody", {}, ...rows));
    sortable(made);
    return made;
  }
  const scrolled = (caption, content) =>
    make("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" }, content);
  const verdicts = (text, column) => (column === "verdict" ? badge(text) : text);

  // Without the seed where all runs have the same one, without columns in which nothing is told.
  function telling(columns, lines) {
    const kept = columns.map((name, place) => {
      const texts = new Set(lines.map((line) => line[place]));
      return place === 0 || !(texts.size === 1 && (name === "seed" || texts.has("-")));
    });
    const some = (line) => line.filter((_, place) => kept[place]);
    return [some(columns), lines.map(some)];
  }

  // Masks as strips of columns.
  function columnsKept(bits, n) {
    const bytes = atob(bits);
    return Array.from({ length: n }, (_, j) => (bytes.charCodeAt(j >> 3) >> (7 - (j & 7))) & 1);
  }
  // Rectangles for the columns with a flag: runs of them, or one each where there are few.
  function rectangles(flags, top, height) {
    const single = flags.length <= 96;
    let path = "";
    for (let j = 0; j < flags.length; j++) {
      if (!flags[j]) continue;
      let end = j + 1;
      while (!single && end < flags.length && flags[end]) end++;
      path += `M${j + (single ? 0.06 : 0)} ${top}h${end - j - (single ? 0.12 : 0)}v${height}H${j + (single ? 0.06 : 0)}z`;
      j = end - 1;
    }
    return path;
  }
  function strip(mask, best, n) {
    const [bits, names, apart, error] = mask;
    const kept = columnsKept(bits, n);
    const differs = kept.map((own, j) => own !== best[j]);
    const label = `${names.join(", ")}: ${kept.reduce((a, b) => a + b, 0)} of ${n} columns kept`;
    const image = draw("svg", { viewBox: `0 0 ${n} 10`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      draw("path", { class: "kept", d: rectangles(kept, 0, apart ? 7.2 : 10) }),
      draw("path", { class: "differs", d: rectangles(differs, 7.8, 2.2) }));
    const told = apart ? `differs from the best in ${apart} columns` : "least error found";
    return make("li", {}, image, make("small", {}, make("b", {}, names.join(", ")), ` error ${error}; ${told}`));
  }
  function masks(problem) {
    const part = document.createDocumentFragment();
    part.append(make("h4", {}, "Masks"));
    if (!problem.masks) {
      part.append(make("p", { class: "note" }, problem.digests
        ? "Records of whole layers sum their rows and hold a digest of the mask, not the mask itself, so there is none to draw."
        : "No run of this problem has a mask on record."));
      return part;
    }
    if (!problem.masks.length) {
      part.append(make("p", { class: "note" }, "The only masks on record are those of wrong runs."));
      return part;
    }
    const swatch = (name) => make("span", { class: "swatch", style: `background:var(--${name})` });
    part.append(make("p", { class: "note" }, `Columns 0 to ${problem.n - 1} from left to right.`,
      swatch("kept"), "kept", swatch("track"), "pruned",
      swatch("differs"), "unlike the best mask. Solvers with the same mask share a strip."));
    const best = columnsKept(problem.masks[0][0], problem.n);
    const list = make("ul", { class: "masks" });
    const show = (some) => list.append(...some.map((mask) => strip(mask, best, problem.n)));
    show(problem.masks.slice(0, MASKS_AT_FIRST));
    part.append(list);
    const rest = problem.masks.slice(MASKS_AT_FIRST);
    if (rest.length) {
      const more = make("button", { class: "more", type: "button" }, `Show ${rest.length} more masks`);
      more.addEventListener("click", () => { show(rest); more.remove(); });
      part.append(more);
    }
    return part;
  }

  // Traces: error of the best mask so far from above, bound so far from below.
  const pairs = (flat) => flat.reduce((all, part, i) => (i % 2 ? (all[all.length - 1].push(part), all) : [...all, [part]]), []);
  const short = (number) => String(parseFloat(number.toPrecision(3)));

  function ticks(low, high) {
    const rough = (high - low) / 4 || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
    const found = [];
    for (let at = Math.ceil(low / step) * step; at <= high * (1 + 1e-9); at += step) found.push(at);
    return found;
  }

  function traces(problem) {
    const part = document.createDocumentFragment();
    part.append(make("h4", {}, "Traces"));
    if (!problem.traces.length) {
      part.append(make("p", { class: "note" }, "No run of this problem that counts kept a trace."));
      return part;
    }
    const curves = problem.traces.map(([label, name, masks, bounds]) => ({ label, name, masks: pairs(masks), bounds: pairs(bounds) }));
    const points = curves.flatMap((curve) => [...curve.masks, ...curve.bounds]);
    const ends = curves.map((curve) => curve.bounds.at(-1)).filter(Boolean).map((point) => point[1]);
    const errors = curves.flatMap((curve) => curve.masks.map((point) => point[1]));
    const least = parseFloat(problem.least);
    const known = Number.isFinite(least) ? [least] : [];
    let high = Math.max(...errors, ...ends, ...known);
    if (known.length && least > 0) high = Math.min(high, 2 * least);
    let low = Math.min(...errors, ...ends, ...known);
    const room = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
    high += room;
    low = Math.max(0, low - room);
    const first = Math.max(1e-5, Math.min(...points.map((point) => Math.max(point[0], 1e-5))));
    const last = Math.max(first * 1.5, ...points.map((point) => point[0])) * 1.1;
    const [width, height, left, right, top, bottom] = [680, 250, 62, 14, 12, 40];
    const x = (t) => left + (Math.log(Math.max(t, first) / first) / Math.log(last / first)) * (width - left - right);
    const y = (v) => height - bottom - ((Math.min(Math.max(v, low), high) - low) / (high - low)) * (height - top - bottom);
    const image = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Traces of ${curves.map((c) => c.name).join(", ")}` });
    for (const at of ticks(low, high)) {
      image.append(draw("line", { class: "rule", x1: left, x2: width - right, y1: y(at), y2: y(at) }),
        draw("text", { x: left - 6, y: y(at) + 4, "text-anchor": "end" }, short(at)));
    }
    const few = Math.log10(last / first) < 1.2 ? [1, 2, 5] : [1];
    for (let power = Math.floor(Math.log10(first)); power <= Math.log10(last); power++) {
      for (const at of few.map((factor) => factor * 10 ** power)) {
        if (at < first || at > last) continue;
        image.append(draw("line", { class: "rule", x1: x(at), x2: x(at), y1: top, y2: height - bottom }),
          draw("text", { x: x(at), y: height - bottom + 15, "text-anchor": "middle" }, short(at)));
      }
    }
    image.append(draw("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, "seconds (log scale)"));
    if (known.length) {
      image.append(draw("line", { class: "least", x1: left, x2: width - right, y1: y(least), y2: y(least) }));
    }
    const keys = make("ul", { class: "keys" });
    const groups = [];
    for (const curve of curves) {
      const [colour, dash] = data.styles[curve.label];
      const group = draw("g", {});
      for (const steps of [curve.masks, curve.bounds]) {
        if (!steps.length) continue;
        let path = `M${x(steps[0][0]).toFixed(1)} ${y(steps[0][1]).toFixed(1)}`;
        for (const [t, v] of steps.slice(1)) path += `H${x(t).toFixed(1)}V${y(v).toFixed(1)}`;
        const [endT, endV] = steps.at(-1);
        group.append(draw("path", { d: path, style: `stroke:${colour}`, "stroke-dasharray": dash }),
          draw("circle", { cx: x(endT), cy: y(endV), r: 3, style: `fill:${colour}` }));
      }
      image.append(group);
      groups.push(group);
      const key = make("button", { type: "button", "aria-pressed": "false" },
        draw("svg", { viewBox: "0 0 30 10", "aria-hidden": "true" },
          draw("path", { d: "M0 5H30", "stroke-dasharray": dash, style: `stroke:${colour};stroke-width:3` })), curve.name);
      key.addEventListener("click", () => {
        const only = key.getAttribute("aria-pressed") !== "true";
        for (const other of keys.querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
        key.setAttribute("aria-pressed", String(only));
        for (const other of groups) other.classList.toggle("faded", only && other !== group);
      });
      keys.append(make("li", {}, key));
    }
    const chart = make("div", { class: "chart" }, scrolled("Traces", image), keys);
    part.append(make("p", { class: "note" },
      "Error of the best mask so far, falling, and bound so far, rising: where they meet, the mask is the best possible. "
      + "Dotted: the least error found. A dot is the end of a run. What lies outside the frame runs along its edge. Choose a name to see it alone."), chart);
    return part;
  }

  function faults(problem) {
    const part = document.createDocumentFragment();
    for (const [name, exception, traceback] of problem.faults || []) {
      if (!traceback) continue;
      part.append(make("details", { class: "legend" }, make("summary", {}, `Traceback of ${name}: ${exception}`),
        make("pre", { tabindex: "0" }, traceback)));
    }
    return part;
  }

  function content(problem) {
    const body = make("div", { class: "body" }, make("p", {}, problem.certain), make("p", { class: "note" }, problem.about));
    body.append(make("h4", {}, "Runs"), scrolled("Runs", table("runs", ...telling(data.runs, problem.runs), verdicts)));
    if (problem.missing) body.append(make("p", { class: "note" }, `Not run on this problem: ${problem.missing.join(", ")}.`));
    body.append(faults(problem), masks(problem), traces(problem), make("h4", {}, "Bounds and certificates"));
    if (problem.checks.length) {
      body.append(make("p", { class: "note" },
        "Checked: the checker derived the bound again from the run’s proof. Claimed: the solver’s word. "
        + "Records hold what was checked, not the proof itself, which ", make("code", {}, "maskgap solve --proof"), " writes to files."),
        scrolled("Bounds and certificates", table("bounds", ...telling(data.checks, problem.checks))));
    } else {
      body.append(make("p", { class: "note" }, "No run of this problem stated a bound."));
    }
    body.append(make("p", { class: "note" }, make("code", {}, `problem ${problem.digest.slice(0, 16)}`)));
    return body;
  }

  // The list of problems: a line in the table and a section each, filled when it is opened.
  const at = (problem, name) => problem.cells[data.columns.indexOf(name)];
  const sections = data.problems.map((problem, place) => {
    const title = `${at(problem, "instance")}, row ${at(problem, "row")}, ${at(problem, "pattern")}`;
    const summary = make("summary", {}, make("b", {}, title));
    if (data.columns.includes("group")) summary.append(make("small", {}, at(problem, "group")));
    summary.append(badge(at(problem, "verdict")));
    if (at(problem, "wrong") !== "0") summary.append(badge("wrong"));
    summary.append(make("span", { class: "gap" }, `certified gap ${at(problem, "certified gap")}`));
    const section = make("details", { id: `problem-${place}` }, summary);
    section.fill = () => {
      if (section.children.length !== 1) return;
      section.append(content(problem));
      watch(section);
    };
    section.addEventListener("toggle", () => { if (section.open) section.fill(); });
    return section;
  });
  document.getElementById("sections").append(...sections);

  const whole = table("problems", data.columns, data.problems.map((problem) => problem.cells), (text, column, place) =>
    column === "instance" ? make("a", { href: `#problem-${place}` }, text) : verdicts(text, column));
  [...whole.tBodies[0].rows].forEach((row, place) => { sections[place].row = row; });
  document.getElementById("all-problems").append(whole);
  document.querySelectorAll("main table.sortable").forEach((found) => {
    if (!found.querySelector("button")) sortable(found);
  });

  // A table that is wider than the screen says how much of it lies to the right.
  function hint(scrolled) {
    if (scrolled.clientWidth === 0) return;
    const edge = scrolled.getBoundingClientRect().left + scrolled.clientWidth;
    const heads = [...scrolled.querySelectorAll("thead th")];
    const away = heads.filter((head) => head.getBoundingClientRect().left > edge - 24).length;
    if (away && scrolled.scrollLeft < 8) {
      scrolled.dataset.more = `${away} more column${away > 1 ? "s" : ""} to the right →`;
    } else {
      delete scrolled.dataset.more;
    }
  }
  const watched = new ResizeObserver((seen) => seen.forEach((entry) => hint(entry.target)));
  function watch(part) {
    for (const scrolled of part.querySelectorAll(".scroll")) {
      watched.observe(scrolled);
      scrolled.addEventListener("scroll", () => hint(scrolled), { passive: true });
    }
  }
  watch(document);

  function follow() {
    const section = sections.find((one) => `#${one.id}` === location.hash);
    if (!section) return;
    section.fill();
    section.open = true;
    section.scrollIntoView();
  }
  addEventListener("hashchange", follow);
  whole.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (link && link.hash === location.hash) follow();
  });
  follow();

  const filter = document.getElementById("filter");
  document.getElementById("find").hidden = false;
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    sections.forEach((section, place) => {
      const text = data.problems[place].cells.join(" ").toLowerCase();
      const fits = words.every((word) => text.includes(word));
      section.hidden = section.row.hidden = !fits;
      count += fits;
    });
    document.getElementById("shown").textContent = words.length ? `${count} of ${sections.length}` : "";
  });

  // On paper: legends open, and sections too where there are few; otherwise those that are open.
  let opened = [];
  addEventListener("beforeprint", () => {
    const closed = [...document.querySelectorAll("main details:not([open])")];
    opened = closed.filter((one) => !sections.includes(one) || sections.length <= ALL_OPEN_IN_PRINT);
    for (const one of opened) { if (one.fill) one.fill(); one.open = true; }
  });
  addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
})();
