"use strict";
// Sorts the table, and draws each chart when it comes into view.
const given = JSON.parse(document.getElementById("figures").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Map();

function colours(layout) {
  const text = dark.matches ? "#e5e7eb" : "#111827", line = dark.matches ? "#2c3648" : "#e2e8f0";
  const changed = {paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", "font.color": text};
  for (const axis of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
    changed[axis + ".gridcolor"] = changed[axis + ".zerolinecolor"] = line;
    changed[axis + ".linecolor"] = line;
  }
  return changed;
}

function put(layout, path, value) {
  const keys = path.split("."), last = keys.pop();
  let node = layout;
  for (const key of keys) node = node[key] ??= {};
  node[last] = value;
}

function draw(place) {
  if (drawn.has(place)) return;
  const {data, layout} = given.figures[Number(place.dataset.figure)];
  for (const trace of data)
    if (trace.customdata) trace.text = trace.customdata.map((trial) => given.texts[trial] ?? "");
  Object.assign(layout, {margin: {l: 10, r: 10, t: 36, b: 10}, font: {size: 12, family: "system-ui"}});
  for (const axis of Object.keys(layout).filter((key) => /^[xy]axis/.test(key)))
    layout[axis].automargin = layout[axis].visible !== false;
  for (const [path, value] of Object.entries(colours(layout))) put(layout, path, value);
  layout.height ??= 360;
  const wide = layout.meta?.width;
  layout.width = wide && wide > place.clientWidth ? wide : undefined;
  drawn.set(place, layout);
  place.style.minHeight = layout.height + "px";
  const config = {responsive: layout.width === undefined, displaylogo: false};
  config.displayModeBar = matchMedia("(hover: hover)").matches ? undefined : false;
  config.modeBarButtonsToRemove = ["select2d", "lasso2d"];
  Plotly.newPlot(place, data, layout, config);
}

function watch() {
  const places = [...document.querySelectorAll("figure[data-figure]")];
  const watching = new IntersectionObserver((seen) => {
    for (const one of seen)
      if (one.isIntersecting) { watching.unobserve(one.target); draw(one.target); }
  }, {rootMargin: "200px"});
  places.forEach((place) => watching.observe(place));
  addEventListener("beforeprint", () => places.forEach(draw));
  dark.addEventListener("change", () => {
    for (const [place, layout] of drawn) Plotly.relayout(place, colours(layout));
  });
}

const table = document.getElementById("trials");
const rest = document.getElementById("rest");
let rows = [...table.tBodies[0].rows], shown = rows.length;

function all() {
  const more = document.createElement("template");
  more.innerHTML = given.rows.join("");
  given.rows = [];
  rows = rows.concat(...more.content.children);
  return rows;
}

function sort(head) {
  const up = head.getAttribute("aria-sort") !== "ascending", column = head.cellIndex;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const cell = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
  const keys = all().map((row) => [cell(row), row]);
  const numbers = keys.every(([one]) => one === "" || !Number.isNaN(Number(one)));
  keys.sort(([a], [b]) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    return (numbers ? Number(a) - Number(b) : a < b ? -1 : Number(a > b)) * (up ? 1 : -1);
  });
  rows = keys.map(([, row]) => row);
  table.tBodies[0].replaceChildren(...rows.slice(0, shown));
}

for (const head of table.tHead.rows[0].cells) head.onclick = () => sort(head);
rest?.addEventListener("click", () => {
  shown = all().length;
  table.tBodies[0].replaceChildren(...rows);
  rest.remove();
});

// The answer is shown before plotly, which takes a moment to start.
const library = document.getElementById("plotly");
if (library) requestAnimationFrame(() => setTimeout(() => {
  const script = document.createElement("script");
  script.textContent = library.textContent;
  document.head.append(script);
  watch();
}));
