// Starts the page: unpacks its numbers and the library of the plots, and fills the sections.

// Returns the text of base64 of gzip in an element.
async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (char) => char.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

// Compares cells of a table: as numbers where both begin with one, empty ones last.
function compareCells(one, two) {
  if (!one || !two) return one ? -1 : two ? 1 : 0;
  const [left, right] = [one, two].map((text) => parseFloat(text.replace(/^at /, "")));
  return Number.isNaN(left) || Number.isNaN(right) ? one.localeCompare(two, "en", { numeric: true }) : left - right;
}

function sortTable(table, column, title) {
  const rising = title.getAttribute("aria-sort") !== "ascending";
  for (const each of table.querySelectorAll("th")) each.removeAttribute("aria-sort");
  title.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const text = (row) => row.cells[column].textContent;
  const rows = [...table.tBodies[0].rows];
  rows.sort((one, two) => {
    if (!text(one) || !text(two)) return compareCells(text(one), text(two));
    return (rising ? 1 : -1) * compareCells(text(one), text(two));
  });
  table.tBodies[0].append(...rows);
}

function makeSortable(table) {
  [...table.querySelectorAll("th")].forEach((title, column) => {
    const name = title.textContent;
    title.replaceChildren(make("button", { type: "button", click: () => sortTable(table, column, title) }, name || "name"));
  });
}

// Redraws everything in the colors of the page, when these change, and draws all of it for paper.
function followPage() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redrawDrawn(plots));
  addEventListener("beforeprint", () => {
    for (const plot of plots) if (!plot.drawn && plot.div.offsetParent) redraw(plot);
  });
}

async function start() {
  const contents = document.querySelector("#contents details");
  if (matchMedia("(max-width: 1100px)").matches) contents.open = false;
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  const [library, numbers] = await Promise.all([unpack("plotly"), unpack("numbers")]);
  document.head.append(Object.assign(document.createElement("script"), { textContent: library }));
  const experiments = JSON.parse(numbers);
  experiments.forEach(addCurves);
  for (const parent of document.querySelectorAll(".phase")) addPhase(parent, experiments[Number(parent.dataset.experiment)]);
  followPage();
}

start().catch((error) => {
  const place = document.getElementById("trouble");
  place.hidden = false;
  place.textContent = `The curves cannot be drawn: ${error}. A browser of 2023 or newer is needed.`;
});
