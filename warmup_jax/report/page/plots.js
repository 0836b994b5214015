// Plots that are drawn when they come into view, in the colors of the page.

const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d1f", "#56b4e9", "#7a5fb5", "#e69f00", "#5d6b78", "#b5403c"];
const SETTINGS = {
  displaylogo: false,
  displayModeBar: "hover",
  responsive: true,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
};
const plots = []; // every {div, draw, drawn}; draw() returns {traces, layout}

// Returns a new element; children are elements or texts, which stay texts.
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "click") element.addEventListener("click", value);
    else if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// Returns text for a plot, which would read tags in it.
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

// Returns the color of slot 0, 1, 2, ...
function colorOf(slot) {
  return slot < PALETTE.length ? PALETTE[slot] : `hsl(${(slot * 47) % 360} 60% 50%)`;
}

// Returns a number for readers.
function shown(value) {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  return size !== 0 && (size >= 1e5 || size < 1e-3) ? value.toExponential(2).replace(/\.?0+e/, "e") : String(Number(value.toPrecision(4)));
}

// Returns ticks of a logarithmic axis, at most about eight, as 1, 2, 5 x 10^n or powers of ten.
function logTicks(low, high) {
  const powers = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) powers.push(power);
  const digits = powers.length > 4 ? [1] : powers.length > 3 ? [1, 3] : [1, 2, 5];
  const ticks = powers.flatMap((power) => digits.map((digit) => Number(`${digit}e${power}`)));
  const inside = ticks.filter((tick) => tick >= low && tick <= high);
  const every = Math.ceil(inside.length / 8);
  return inside.filter((_, index) => index % every === 0);
}

// Returns the texts of ticks in one form: plain numbers, or powers of ten if one of them is very large or small.
function tickTexts(ticks) {
  if (ticks.every((tick) => tick >= 0.01 && tick < 1e4)) return ticks.map(shown);
  return ticks.map((tick) => {
    const [digits, power] = tick.toExponential(0).split("e");
    const raised = [...String(Number(power))].map((char) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(char)]).join("");
    return `${digits === "1" ? "" : `${digits}·`}10${raised}`;
  });
}

function cssColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Returns the layout that all plots share; part: what is particular to one.
function layoutOf(part) {
  const axis = { gridcolor: cssColor("--grid"), zeroline: false, linecolor: cssColor("--line"), automargin: true };
  return {
    plot_bgcolor: "rgba(0,0,0,0)",
    ...part,
    font: { family: "system-ui, sans-serif", size: 12, color: cssColor("--ink") },
    paper_bgcolor: "rgba(0,0,0,0)",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: cssColor("--soft"), activecolor: cssColor("--accent") },
    margin: { l: 10, r: 12, t: 24, b: 10, ...part.margin },
    hoverlabel: { align: "left", namelength: -1 },
    showlegend: false,
    xaxis: { ...axis, ...part.xaxis },
    yaxis: { ...axis, ...part.yaxis },
  };
}

function redraw(plot) {
  const { traces, layout } = plot.draw();
  Plotly.react(plot.div, traces, layoutOf(layout), SETTINGS);
  if (!plot.drawn && plot.begin) plot.begin(plot.div);
  plot.drawn = true;
}

const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const plot = plots.find((each) => each.div === entry.target);
      if (entry.isIntersecting && plot && !plot.drawn) redraw(plot);
    }
  },
  { rootMargin: "300px" },
);

// Draws a plot once it is near the window; begin(div) is called after the first drawing.
function addPlot(div, draw, begin = null) {
  const plot = { div, draw, begin, drawn: false };
  plots.push(plot);
  watcher.observe(div);
  return plot;
}

// Forgets plots whose elements go away.
function removePlots(gone) {
  for (const plot of gone) {
    watcher.unobserve(plot.div);
    if (plot.drawn) Plotly.purge(plot.div);
    plots.splice(plots.indexOf(plot), 1);
  }
}

function redrawDrawn(some) {
  for (const plot of some) if (plot.drawn) redraw(plot);
}

// Calls a function at most once for each picture of the screen, however often it is asked for.
function oncePerFrame(act) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    setTimeout(() => { asked = false; act(); }, 0);
  };
}
