// Switches above the curves: which groups of runs, single seeds, and the axes.

// Returns a row of buttons of which one is pressed.
function choice(name, options, current, choose) {
  const row = make("div", { class: "row" }, make("span", { class: "name" }, name));
  for (const [value, text] of options) {
    const press = (event) => {
      for (const each of row.querySelectorAll("button")) each.setAttribute("aria-pressed", each === event.currentTarget);
      choose(value);
    };
    row.append(make("button", { class: "chip", type: "button", "aria-pressed": value === current, click: press }, text));
  }
  return row;
}

// Returns a button that is on or off.
function toggle(text, on, change) {
  const press = (event) => {
    const now = event.currentTarget.getAttribute("aria-pressed") !== "true";
    event.currentTarget.setAttribute("aria-pressed", now);
    change(now);
  };
  return make("button", { class: "chip", type: "button", "aria-pressed": on, click: press }, text);
}

function controlsOf(experiment, view, update) {
  const controls = make("div", { class: "controls" });
  const set = (name) => (value) => { view[name] = value; update(); };
  const units = xUnits(experiment);
  if (units.length > 1) {
    controls.append(choice("x", units.map((unit) => [unit, X_AXES[unit]]), view.x, (unit) => { view.zoom = null; set("x")(unit); }));
  }
  controls.append(
    toggle("log x", view.logX, set("logX")),
    choice("y", [["auto", "auto"], ["linear", "linear"], ["log", "log"]], view.y, set("y")),
  );
  if (experiment.groups.some((group) => group.runs.length > 2)) {
    controls.append(toggle("single seeds", view.singles, set("singles")));
  }
  if (experiment.groups.length > 1) controls.append(groupButtons(experiment, view, update));
  if (experiment.groups.length > 6) for (const axis of experiment.axes) controls.append(filterOf(experiment, view, axis, update));
  return controls;
}

// Returns buttons that switch many groups at once.
function groupButtons(experiment, view, update) {
  const row = make("div", { class: "row" }, make("span", { class: "name" }, "runs"));
  const all = experiment.groups.map((_, index) => index);
  for (const [text, groups] of [["all", all], ["none", []], ["best", experiment.best]]) {
    const press = () => { view.chosen = {}; clearFilters(row.parentElement); switchOn(view, groups); update(); };
    row.append(make("button", { class: "chip", type: "button", click: press }, text));
  }
  return row;
}

function clearFilters(controls) {
  for (const button of controls.querySelectorAll(".filter button")) button.setAttribute("aria-pressed", false);
}

// Returns buttons for the values of one setting: the groups with the pressed values of every setting are on.
function filterOf(experiment, view, axis, update) {
  const row = make("div", { class: "row filter" }, make("span", { class: "name" }, axis.name));
  for (const value of axis.values) {
    row.append(toggle(value, false, (on) => {
      const chosen = (view.chosen[axis.key] ??= new Set());
      if (on) chosen.add(value);
      else chosen.delete(value);
      applyFilters(experiment, view);
      update();
    }));
  }
  return row;
}

function applyFilters(experiment, view) {
  const filters = Object.entries(view.chosen).filter(([, values]) => values.size);
  const passes = (group) => filters.every(([key, values]) => values.has(group.settings[key]));
  const all = experiment.groups.map((_, index) => index);
  switchOn(view, filters.length ? all.filter((index) => passes(experiment.groups[index])) : []);
}

// Returns "2 of 3 trained" for a group where some did not, else "".
function fate(experiment, group) {
  const states = group.runs.map((run) => experiment.runs[run].state);
  const failed = states.filter((state) => state === "diverged" || state === "stuck");
  if (!failed.length) return "";
  return states.length === 1 ? ` (${failed[0]})` : ` (${states.length - failed.length} of ${states.length} trained)`;
}

// Returns the button of a group, which switches it on or off in every panel.
function legendButton(experiment, view, index, update) {
  const group = experiment.groups[index];
  const on = view.slots.has(index);
  const press = () => {
    switchOn(view, on ? [...view.slots.keys()].filter((each) => each !== index) : [...view.slots.keys(), index]);
    update();
  };
  const swatch = make("span", { class: "swatch" });
  if (on) swatch.style.background = colorOf(view.slots.get(index));
  return make("button", { type: "button", "aria-pressed": on, "data-group": index, click: press },
    swatch, `${group.label}${fate(experiment, group)}`);
}

// Fills the legend: few groups all in their places; of many those that are on, and the others folded.
function fillLegend(legend, experiment, view, update) {
  const groups = experiment.groups.map((_, index) => index);
  const button = (index) => legendButton(experiment, view, index, update);
  const few = groups.length <= 12;
  const shown = few ? groups : groups.filter((index) => view.slots.has(index));
  const parts = [make("div", { class: "legend" }, ...shown.map(button))];
  if (!few) {
    const open = legend.querySelector("details")?.open ? "" : null;
    const others = groups.filter((index) => !view.slots.has(index));
    parts.push(make("details", { open, class: "soft" }, make("summary", {}, `${others.length} more that are switched off`),
      make("div", { class: "legend many" }, ...others.map(button))));
  }
  const place = legend.querySelector(".many")?.scrollTop;
  legend.replaceChildren(...parts);
  if (place) legend.querySelector(".many").scrollTop = place;
}
