"use strict";
// What every plot has in common; the specifications in the page say the rest.
const BASE = {
  font: { family: "system-ui, sans-serif", size: 12, color: "#1d2329" },
  margin: { l: 60, r: 20, t: 10, b: 45 },
  paper_bgcolor: "#fff",
  plot_bgcolor: "#fff",
  hoverlabel: { bgcolor: "#fff", align: "left", namelength: -1 },
  legend: { orientation: "h", y: -0.2, yanchor: "top" },
  bargap: 0.15,
};
const AXIS = { gridcolor: "#e8ecef", zerolinecolor: "#c5ccd2", linecolor: "#c5ccd2", automargin: true };
const CONFIG = {
  responsive: true,
  displaylogo: false,
  // Their buttons would send the plot to a service, or are of no use here.
  modeBarButtonsToRemove: ["sendDataToCloud", "select2d", "lasso2d", "autoScale2d"],
};

for (const figure of document.querySelectorAll("figure.plot")) {
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const layout = { ...BASE, ...spec.layout };
  for (const name of Object.keys(layout)) {
    if (/^[xy]axis/.test(name)) layout[name] = { ...AXIS, ...layout[name] };
  }
  const canvas = figure.querySelector(".canvas");
  // A plot that grows with its rows says how high it is: what follows has to make room.
  if (layout.height) canvas.style.height = `${layout.height}px`;
  Plotly.newPlot(canvas, spec.data, layout, CONFIG).then(() => {
    figure.dataset.drawn = "yes";
  });
}

// Numbers sort as numbers, with the percent signs, separators and dashes that people read.
function valueOf(cell) {
  const number = Number(cell.replace(/[,%\s]/g, "").replace("−", "-").replace(/^</, ""));
  return cell === "–" || cell === "" ? -Infinity : Number.isNaN(number) ? cell : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a === b ? 0 : a < b ? -1 : 1;
  return String(a).localeCompare(String(b));
}

for (const head of document.querySelectorAll("th")) {
  head.querySelector("button").addEventListener("click", () => {
    const table = head.closest("table");
    const body = table.tBodies[0];
    const rising = head.getAttribute("aria-sort") === "descending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const rows = [...body.rows].map((row) => [valueOf(row.cells[head.cellIndex].textContent), row]);
    rows.sort(([a], [b]) => (rising ? compare(a, b) : compare(b, a)));
    body.append(...rows.map(([, row]) => row));
  });
}
document.body.dataset.ready = "yes";
