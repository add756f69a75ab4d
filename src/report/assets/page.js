"use strict";
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const curves = JSON.parse(byId("curves").textContent);

  // Charts.
  const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];
  const COLOURS = 8;
  let plots = [];

  // Colours as a canvas takes them: the style sheet has one for light and one for dark.
  const colour = (() => {
    const probe = document.body.appendChild(document.createElement("span"));
    probe.hidden = true;
    return (name) => {
      probe.style.color = `var(--${name})`;
      return getComputedStyle(probe).color;
    };
  })();

  function short(value) {
    if (value == null) return "–";
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (size < 1e-3 || size >= 1e6) return value.toExponential(1);
    if (size >= 1e4) return `${(value / 1e3).toFixed(1)}k`;
    return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(3);
  }

  // Ticks lie on round numbers: as many digits as they need, and no more.
  const tick = (value) => {
    if (value == null) return "";
    const number = Number(value.toPrecision(4));
    const isPlain = number === 0 || (Math.abs(number) >= 1e-3 && Math.abs(number) < 1e5);
    return isPlain ? String(number) : number.toExponential().replace("e+", "e");
  };

  const lastIndex = (values) => values.findLastIndex((value) => value != null);

  function nearest(values, from) {
    if (values[from] != null) return from;
    for (let away = 1; away < values.length; away++) {
      if (values[from - away] != null) return from - away;
      if (values[from + away] != null) return from + away;
    }
    return from;
  }

  function plotted(chart, figure, isLog) {
    const positive = (values) => values.map((value) => (value > 0 ? value : null));
    const data = chart.data.map((values, number) => (isLog && number > 0 ? positive(values) : values));
    const line = colour("line");
    const axis = { stroke: colour("faint"), grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 }, font: "11px system-ui, sans-serif" };
    const style = (series) => ({
      label: series.label,
      stroke: colour(`series${(curves.runs > 1 ? series.run : series.part) % COLOURS}`),
      dash: curves.runs > 1 ? DASHES[series.part % DASHES.length] : [],
      width: 1.6,
      spanGaps: true,
      value: (plot, value) => short(value),
    });
    const newest = data.map(lastIndex);
    const options = {
      width: Math.max(figure.clientWidth - 12, 120),
      height: 210,
      cursor: {
        sync: { key: "step" },
        drag: { x: true, y: false },
        dataIdx: (plot, series, index) => (series > 0 && index != null ? nearest(plot.data[series], index) : index),
      },
      scales: {
        x: { time: false, range: (plot, low, high) => (low === high ? [low - 1, high + 1] : [low, high]) },
        y: isLog ? { distr: 3 } : {},
      },
      axes: [
        { ...axis, values: (plot, ticks) => ticks.map(tick), size: 28, label: "step", labelSize: 16, labelFont: axis.font, labelGap: 0, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5] },
        { ...axis, values: (plot, ticks) => ticks.map(tick), size: 52 },
      ],
      series: [{ label: "step", value: (plot, value) => (value == null ? "–" : String(value)) }, ...chart.series.map(style)],
      hooks: {
        // Without a pointer the newest values are shown.
        setLegend: [(plot) => plot.legend.idx == null && newest.some((index) => index >= 0) && plot.setLegend({ idxs: newest, idx: newest[0] }, false)],
      },
    };
    const plot = new uPlot(options, data, figure);
    plot.setLegend({ idxs: newest, idx: newest[0] }, false);
    return plot;
  }

  function draw() {
    const isLog = byId("log").checked;
    plots.forEach((plot) => plot.destroy());
    plots = curves.charts.map((chart, number) => plotted(chart, byId("charts").children[number], isLog));
  }

  function move(number, by) {
    const plot = plots[number];
    const steps = plot.data[0];
    const now = plot.cursor.idx ?? steps.length - 1;
    const next = Math.min(Math.max(now + by, 0), steps.length - 1);
    plot.setCursor({ left: plot.valToPos(steps[next], "x"), top: plot.over.clientHeight / 2 });
  }

  curves.charts.forEach((chart, number) => {
    const figure = byId("charts").appendChild(document.createElement("figure"));
    const title = figure.appendChild(document.createElement("figcaption"));
    title.textContent = chart.title;
    figure.tabIndex = 0;
    figure.setAttribute("aria-label", `${chart.title}: a curve over steps; arrow keys show its values`);
    figure.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
      if (by === undefined) return;
      move(number, by);
      event.preventDefault();
    });
  });
  if (curves.charts.length === 0) byId("curves-section").hidden = true;
  let width = 0;
  new ResizeObserver(() => {
    if (byId("charts").clientWidth === width) return;
    width = byId("charts").clientWidth;
    draw();
  }).observe(byId("charts"));
  byId("log").addEventListener("change", draw);

  // Light and dark.
  const THEMES = ["system", "light", "dark"];
  function setTheme(theme) {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    byId("theme").textContent = `theme: ${theme}`;
    draw();
  }
  byId("theme").addEventListener("click", () => {
    const now = root.dataset.theme ?? "system";
    setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  // Search: documents and rollouts without what is searched for go away, those with it open.
  const documents = [...document.querySelectorAll("article[data-search]")];
  const opened = new Set();
  const lower = new WeakMap();
  const textOf = (element) => {
    if (!lower.has(element)) lower.set(element, element.textContent.toLowerCase());
    return lower.get(element);
  };

  function highlight(wanted) {
    if (!CSS.highlights) return 0;
    CSS.highlights.delete("found");
    const ranges = [];
    if (wanted) {
      const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
      while (walker.nextNode() && ranges.length < 5000) {
        const text = walker.currentNode.data.toLowerCase();
        // Letters whose lower case is longer would shift the ranges.
        if (text.length !== walker.currentNode.data.length) continue;
        for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
          const range = new Range();
          range.setStart(walker.currentNode, at);
          range.setEnd(walker.currentNode, at + wanted.length);
          ranges.push(range);
        }
      }
      CSS.highlights.set("found", new Highlight(...ranges));
    }
    return ranges.length;
  }

  function search() {
    const wanted = byId("search").value.trim().toLowerCase();
    let found = 0;
    for (const article of documents) {
      const has = !wanted || textOf(article).includes(wanted);
      article.classList.toggle("away", !has);
      found += has && wanted ? 1 : 0;
      for (const reading of article.querySelectorAll("details.reading")) {
        const holds = wanted && textOf(reading).includes(wanted);
        if (holds && !reading.open) {
          reading.open = true;
          opened.add(reading);
        } else if (!holds && opened.delete(reading)) {
          reading.open = false;
        }
      }
    }
    highlight(wanted);
    byId("found").textContent = wanted ? `${found} of ${documents.length} documents` : "";
  }
  let due;
  byId("search").addEventListener("input", () => {
    clearTimeout(due);
    due = setTimeout(search, 120);
  });

  // Keys.
  const summaries = () => [...document.querySelectorAll("details.reading > summary")].filter((summary) => summary.offsetParent);
  function step(by) {
    const all = summaries();
    const now = all.indexOf(document.activeElement);
    const next = all[now < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(now + by, 0), all.length - 1)];
    next?.focus();
    next?.scrollIntoView({ block: "center" });
  }
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches?.("input[type=search]");
    if (event.key === "Escape" && isTyping) {
      byId("search").value = "";
      search();
      byId("search").blur();
      return;
    }
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      "/": () => byId("search").focus(),
      j: () => step(1),
      k: () => step(-1),
      l: () => byId("log").click(),
    }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
  });

  // A link to a rollout opens it.
  function openTarget() {
    const target = location.hash && byId(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.matches("details")) target.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", openTarget);
  openTarget();
})();
