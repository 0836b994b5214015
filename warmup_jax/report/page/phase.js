// Phase diagrams: maps over peak rate x warmup length; a click on a cell shows its runs.

const COLORS = "Viridis";
const CELL_PANELS = ["train/loss", "opt/learning_rate"];

// Returns the heat map of one facet.
function heatTrace(phase, map, facet) {
  const scale = (value) => (value === null ? null : map.log ? Math.log10(value) : value);
  const ticks = map.log ? logTicks(map.low, map.high) : null;
  const values = map.values[facet];
  const texts = values.map((row, y) => row.map((value, x) => {
    const states = phase.states[facet][y][x];
    return `peak rate ${plain(phase.rates[x])}, warmup ${plain(phase.lengths[y])}<br>${plain(map.title)}: ` +
      `${value !== null ? shown(value) : states ? "not finite" : ""}<br>${states || "not run"}<br>click for its runs`;
  }));
  return {
    type: "heatmap", z: values.map((row) => row.map(scale)), text: texts, hovertemplate: "%{text}<extra></extra>",
    zmin: scale(map.low), zmax: scale(map.high), colorscale: COLORS, xgap: 1, ygap: 1, hoverongaps: true,
    colorbar: {
      thickness: 12, outlinewidth: 0, len: 1,
      ...(ticks ? { tickvals: ticks.map(Math.log10), ticktext: tickTexts(ticks) } : { nticks: 6 }),
    },
  };
}

// Returns signs on the cells of which most seeds failed, with an edge that sets them off from any color.
function signTraces(phase, facet, state, symbol) {
  const x = [], y = [];
  phase.states[facet].forEach((row, length) => row.forEach((found, rate) => {
    if (found === state) { x.push(rate); y.push(length); }
  }));
  const sign = (color, width, size) =>
    ({ x, y, mode: "markers", hoverinfo: "skip", marker: { symbol, size, line: { color: cssColor(color), width } } });
  return [sign("--empty", 5, 12), sign("--ink", 1.8, 9)];
}

// Returns the line above the largest rates that train.
function boundaryTrace(phase, facet) {
  const x = [], y = [];
  phase.boundary[facet].forEach((index, length) => {
    x.push(...Array(2).fill(index === null ? null : index + 0.5));
    y.push(length - 0.5, length + 0.5);
  });
  return { x, y, mode: "lines", hoverinfo: "skip", cliponaxis: false, line: { color: cssColor("--boundary"), width: 3 } };
}

// Returns a word in every cell without runs, or a dash where it would not fit.
function emptyTrace(phase, facet) {
  const places = phase.states[facet].flatMap((row, y) => row.flatMap((found, x) => (found ? [] : [[x, y]])));
  return {
    x: places.map(([x]) => x), y: places.map(([, y]) => y), mode: "text", hoverinfo: "skip",
    text: places.map(() => (phase.rates.length > 12 ? "–" : "not run")), textfont: { size: 10, color: cssColor("--soft") },
  };
}

function drawMap(phase, facet, chosen) {
  const { map, cell } = chosen;
  const outline = cell && cell[0] === facet
    ? [{ type: "rect", x0: cell[2] - 0.5, x1: cell[2] + 0.5, y0: cell[1] - 0.5, y1: cell[1] + 0.5, line: { color: cssColor("--ink"), width: 3 } }]
    : [];
  const axis = (texts, title) => ({
    title: { text: title }, tickvals: texts.map((_, index) => index), ticktext: texts.map(plain),
    range: [-0.5, texts.length - 0.5], fixedrange: true, showgrid: false, ticks: "",
  });
  const layout = {
    shapes: outline, plot_bgcolor: cssColor("--empty"),
    xaxis: axis(phase.rates, "peak learning rate"), yaxis: axis(phase.lengths, "warmup [updates]"),
  };
  const traces = [
    heatTrace(phase, phase.maps[map], facet), boundaryTrace(phase, facet), emptyTrace(phase, facet),
    ...signTraces(phase, facet, "diverged", "x-thin"), ...signTraces(phase, facet, "stuck", "line-ne"),
  ];
  return { traces, layout };
}

// Returns a table of the runs of a cell.
function runTable(experiment, runs) {
  const scores = [...new Set(runs.flatMap((run) => Object.keys(experiment.runs[run].final)))];
  const rows = runs.map((index) => {
    const run = experiment.runs[index];
    return [run.name, String(run.seed ?? ""), run.state, shown(run.loss), ...scores.map((score) => shown(run.final[score])),
      run.diverged === null ? "" : `at ${run.diverged}`];
  });
  const row = (cells, tag) => make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
  const head = row(["run", "seed", "outcome", "final train loss", ...scores, "diverged"], "th");
  return make("div", { class: "box" },
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows.map((cells) => row(cells, "td")))));
}

// Shows the runs of a cell in an element; returns their plots.
function showCell(box, experiment, phase, [facet, length, rate]) {
  const runs = phase.cells[facet][length][rate];
  const title = [phase.facets[facet], `peak rate ${phase.rates[rate]}`, `warmup ${phase.lengths[length]}`];
  box.replaceChildren(make("h4", {}, title.filter(Boolean).join(", ")));
  if (!runs.length) { box.append(make("p", {}, "Not run.")); return []; }
  const panels = make("div", { class: "panels" });
  box.append(runTable(experiment, runs), panels);
  const view = newView({ on: [] });
  const selection = () => runs.map((run, slot) =>
    ({ id: run, label: title.filter(Boolean).join(", "), color: colorOf(slot), runs: [run], spread: false }));
  const drawn = [];
  const zoomed = (range) => { view.zoom = range; redrawDrawn(drawn); };
  for (const panel of experiment.panels.filter((each) => CELL_PANELS.includes(each.key))) {
    drawn.push(addPanel(panels, experiment, panel, view, selection, zoomed));
  }
  return drawn;
}

// Fills the section of a phase diagram.
function addPhase(parent, experiment) {
  const phase = experiment.phases[Number(parent.dataset.record)];
  const chosen = { map: 0, cell: null };
  const maps = make("div", { class: phase.facets.length > 1 ? "maps" : "maps one" });
  const box = make("div", { class: "cell" }, make("p", { class: "soft" }, "Click a cell for its runs."));
  const drawn = [];
  let ofCell = [];
  const select = make("select", { "aria-label": "quantity" }, ...phase.maps.map((map, index) => make("option", { value: index }, map.title)));
  select.addEventListener("change", () => { chosen.map = Number(select.value); redrawDrawn(drawn); });
  phase.facets.forEach((facet, index) => {
    const div = make("div", { class: "plot" });
    maps.append(make("div", { class: "panel" }, ...(facet ? [make("h4", {}, facet)] : []), div));
    const begin = () => div.on("plotly_click", (event) => {
      chosen.cell = [index, Math.round(event.points[0].y), Math.round(event.points[0].x)];
      removePlots(ofCell);
      ofCell = showCell(box, experiment, phase, chosen.cell);
      setTimeout(() => redrawDrawn(drawn), 0);
    });
    drawn.push(addPlot(div, () => drawMap(phase, index, chosen), begin));
  });
  parent.append(make("div", { class: "controls" }, make("span", { class: "name" }, "color"), select), maps, box);
}
