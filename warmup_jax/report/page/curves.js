// Curves of an experiment: one plot for each metric, all with the same runs, x axis and zoom.

const X_AXES = { step: "updates", examples: "training examples", epochs: "epochs" };

// Returns what the curves of an experiment show: slots: {group: slot of its color} of those that are switched on.
function newView(experiment) {
  const view = { slots: new Map(), singles: false, x: "step", logX: false, y: "auto", zoom: null, chosen: {} };
  switchOn(view, experiment.on);
  return view;
}

// Switches exactly these groups on; those that were on keep their colors.
function switchOn(view, groups) {
  const wanted = new Set(groups);
  for (const group of [...view.slots.keys()]) if (!wanted.has(group)) view.slots.delete(group);
  for (const group of groups) {
    if (view.slots.has(group)) continue;
    const taken = new Set(view.slots.values());
    let slot = 0;
    while (taken.has(slot)) slot += 1;
    view.slots.set(group, slot);
  }
}

// Returns what is drawn in every panel: [{id, label, color, runs, spread}], spread: show the median of the runs.
function selectionOf(experiment, view) {
  return [...view.slots].map(([group, slot]) => {
    const { label, runs } = experiment.groups[group];
    return { id: group, label, color: colorOf(slot), runs, spread: !view.singles && runs.length > 2 };
  });
}

function xOf(experiment, run, step, unit) {
  const { batch } = experiment.runs[run];
  if (unit === "examples") return step * batch;
  return unit === "epochs" ? (step * batch) / experiment.epoch : step;
}

// Returns the units of the x axis that are known for all runs.
function xUnits(experiment) {
  if (!experiment.runs.every((run) => run.batch)) return ["step"];
  return experiment.epoch ? ["step", "examples", "epochs"] : ["step", "examples"];
}

function nameOf(experiment, run) {
  const { name, seed } = experiment.runs[run];
  return seed === null ? name : `${name}, seed ${seed}`;
}

// Returns the line of one run.
function runTrace(experiment, view, panel, item, run) {
  const [list, values] = panel.runs[run];
  const steps = experiment.steps[list];
  return {
    x: steps.map((step) => xOf(experiment, run, step, view.x)),
    y: values,
    customdata: steps,
    mode: panel.sparse ? "lines+markers" : "lines",
    line: { color: item.color, width: 1.5 },
    marker: { size: 5 },
    meta: { id: item.id, kind: "run" },
    hovertemplate:
      `<b>%{y:.4~g}</b> at update %{customdata}<br>${plain(item.label)}<br>${plain(nameOf(experiment, run))}<extra></extra>`,
  };
}

// Returns the band from the lowest to the highest seed of a group, and the line of their median. Seeds that diverged
// are in it only if all did.
function spreadTraces(experiment, view, panel, item, logY) {
  const [list, middle, low, high] = panel.groups[item.id];
  const steps = experiment.steps[list];
  const x = steps.map((step) => xOf(experiment, item.runs[0], step, view.x));
  const kept = steps.map((_, index) => index).filter((index) => low[index] !== null && !(logY && low[index] <= 0));
  const back = [...kept].reverse();
  const finite = item.runs.filter((run) => experiment.runs[run].diverged === null).length;
  return [
    {
      x: [...kept, ...back].map((index) => x[index]),
      y: [...kept.map((index) => high[index]), ...back.map((index) => low[index])],
      mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: item.color, opacity: 0.18,
      hoverinfo: "skip", meta: { id: item.id, kind: "band" },
    },
    {
      x, y: middle, customdata: steps.map((step, index) => [step, low[index], high[index]]),
      mode: panel.sparse ? "lines+markers" : "lines",
      line: { color: item.color, width: 2 }, marker: { size: 5 },
      meta: { id: item.id, kind: "median" },
      hovertemplate:
        `<b>%{y:.4~g}</b> at update %{customdata[0]}<br>${plain(item.label)}<br>` +
        `median of ${finite || item.runs.length} seeds, %{customdata[1]:.4~g} to %{customdata[2]:.4~g}<extra></extra>`,
    },
  ];
}

// Returns crosses where runs diverged, at the upper edge of the plot.
function divergenceTrace(experiment, view, panel, selection, [, high]) {
  const crosses = { x: [], y: [], text: [], color: [] };
  for (const item of selection) {
    for (const run of item.runs) {
      const { diverged } = experiment.runs[run];
      if (diverged === null || !panel.runs[run]) continue;
      if (panel.runs[run][1].every((value) => value === null)) continue;
      crosses.x.push(xOf(experiment, run, diverged, view.x));
      crosses.y.push(high);
      crosses.color.push(item.color);
      crosses.text.push(`diverged at update ${diverged}<br>${plain(item.label)}<br>${plain(nameOf(experiment, run))}`);
    }
  }
  return {
    x: crosses.x, y: crosses.y, text: crosses.text, mode: "markers", cliponaxis: false, meta: { id: null, kind: "diverged" },
    marker: { symbol: "x-thin", size: 8, line: { color: crosses.color, width: 2 } },
    hovertemplate: "%{text}<extra></extra>",
  };
}

// Returns the panel with limits that leave nothing out, for diverged runs alone, which flatten no others then.
function withoutLimits(experiment, panel, selection) {
  const runs = selection.flatMap((item) => item.runs);
  if (!runs.length || runs.some((run) => experiment.runs[run].diverged === null)) return panel;
  const values = runs.filter((run) => panel.runs[run]).flatMap((run) => panel.runs[run][1]).filter((value) => value !== null);
  if (!values.length) return panel;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return { ...panel, low, high, log: low > 0 && high > 100 * low };
}

// Returns [lowest, highest] of what is shown, within the limits of the panel that diverged runs do not stretch.
function yLimits(panel, traces, log, zoom) {
  let low = Infinity, high = -Infinity;
  for (const { x, y } of traces) {
    for (let index = 0; index < y.length; index += 1) {
      const value = y[index];
      if (value === null || (zoom && (x[index] < zoom[0] || x[index] > zoom[1]))) continue;
      if (value < panel.low || value > panel.high || (log && value <= 0)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) [low, high] = [log && panel.low <= 0 ? panel.high / 1000 || 1e-3 : panel.low, panel.high || 1];
  if (log) {
    const margin = 0.05 * Math.log10(high / low) || 0.3;
    return [low / 10 ** margin, high * 10 ** margin];
  }
  const margin = 0.05 * (high - low) || 0.1 * Math.abs(high) || 1;
  return [low - margin, high + margin];
}

// Returns where the x axis of every panel ends: at the last update of any run.
function xEnd(experiment, unit) {
  return Math.max(...experiment.runs.map((run, index) => xOf(experiment, index, run.end, unit))) || 1;
}

// Returns a line at the value with which a metric is compared, if the plot reaches it.
function referenceTraces(panel, [start, end], [low, high]) {
  if (!panel.reference || panel.reference[0] < low || panel.reference[0] > high) return [];
  const [value, name] = panel.reference;
  return [{
    x: [start, end], y: [value, value], mode: "lines", line: { color: cssColor("--soft"), width: 1.3, dash: "dot" },
    meta: { id: null, kind: "reference" }, hovertemplate: `${plain(name)}: %{y:.4~g}<extra></extra>`,
  }];
}

// Returns traces and layout of one panel for a selection.
function drawPanel(experiment, view, limited, selection) {
  const panel = withoutLimits(experiment, limited, selection);
  const logY = view.y === "auto" ? panel.log : view.y === "log";
  const traces = selection.flatMap((item) =>
    item.spread && panel.groups[item.id]
      ? spreadTraces(experiment, view, panel, item, logY)
      : item.runs.filter((run) => panel.runs[run]).map((run) => runTrace(experiment, view, panel, item, run)),
  );
  const limits = yLimits(panel, traces, logY, view.zoom);
  traces.push(divergenceTrace(experiment, view, panel, selection, limits));
  const empty = traces.length === 1;
  const last = xEnd(experiment, view.x);
  const whole = view.logX ? null : [-0.02 * last, 1.02 * last];
  const range = view.zoom && view.logX ? view.zoom.map((end) => Math.log10(Math.max(end, 1e-9))) : view.zoom || whole;
  traces.push(...referenceTraces(panel, view.logX ? [Math.min(1, last), last] : [0, last], limits));
  const ticks = logY ? logTicks(...limits) : [];
  const layout = {
    hovermode: "closest",
    xaxis: {
      title: { text: X_AXES[view.x] }, type: view.logX ? "log" : "linear", nticks: 7, tickformat: view.x === "epochs" ? "" : ",~d",
      ...(last <= 7 && view.x !== "epochs" ? { tick0: 0, dtick: 1 } : {}),
      ...(range ? { range, autorange: false } : { autorange: true }),
    },
    yaxis: {
      title: { text: plain(panel.axis) }, type: logY ? "log" : "linear", autorange: false, exponentformat: "power", nticks: 6,
      range: logY ? limits.map((end) => Math.log10(end)) : limits,
      ...(ticks.length > 1 ? { tickvals: ticks, ticktext: tickTexts(ticks) } : {}),
    },
    annotations: empty ? [{ text: "no run is switched on", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5 }] : [],
  };
  return { traces, layout };
}

function sentenceOf(panel) {
  return `${panel.sentence || panel.key}${panel.reference ? ` Dotted line: ${panel.reference[1]}.` : ""}`;
}

// Adds the plot of a panel to an element; zoomed(range) is called when the user zooms along x.
function addPanel(parent, experiment, panel, view, selection, zoomed) {
  const div = make("div", { class: "plot" });
  parent.append(
    make("div", { class: "panel", "data-metric": panel.key },
      make("h4", {}, panel.title), make("p", {}, sentenceOf(panel)), div),
  );
  const begin = () =>
    div.on("plotly_relayout", (event) => {
      if (event["xaxis.autorange"]) zoomed(null);
      const ends = event["xaxis.range"] || [event["xaxis.range[0]"], event["xaxis.range[1]"]];
      if (ends[0] !== undefined) zoomed(view.logX ? ends.map((end) => 10 ** end) : [...ends]);
    });
  return addPlot(div, () => drawPanel(experiment, view, panel, selection()), begin);
}

// Fills the sections of curves and diagnostics of an experiment.
function addCurves(experiment, number) {
  const view = newView(experiment);
  const drawn = [];
  const legend = make("div", {});
  const update = oncePerFrame(() => { fillLegend(legend, experiment, view, update); redrawDrawn(drawn); });
  const zoomed = (range) => { view.zoom = range; update(); };
  const selection = () => selectionOf(experiment, view);
  for (const parent of document.querySelectorAll(`.curves[data-experiment="${number}"]`)) {
    const main = parent.dataset.family === "curves";
    if (main) parent.append(controlsOf(experiment, view, update), legend);
    const panels = make("div", { class: "panels" });
    parent.append(panels);
    for (const panel of experiment.panels) {
      if (panel.family === parent.dataset.family) drawn.push(addPanel(panels, experiment, panel, view, selection, zoomed));
    }
  }
  fillLegend(legend, experiment, view, update);
}
