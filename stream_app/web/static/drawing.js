// Small pieces of the page: elements, sparklines, score bars, and uPlot charts in the theme's colours.

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Set a text only where it differs: an unchanged one is not laid out or read out again. */
export function say(target, text) {
  const found = typeof target === "string" ? document.getElementById(target) : target;
  if (found.textContent !== text) found.textContent = text;
}

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 96;
const HEIGHT = 24;

/** A curve of scores from 0 to 1; the newest is a dot. */
export function sparkline(scores, label) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("class", "spark");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  const x = (n) => (scores.length < 2 ? WIDTH - 4 : 3 + (n * (WIDTH - 7)) / (scores.length - 1));
  const y = (score) => HEIGHT - 3 - score * (HEIGHT - 6);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", scores.map((score, n) => `${n ? "L" : "M"}${x(n).toFixed(1)} ${y(score).toFixed(1)}`).join(""));
  const dot = document.createElementNS(SVG, "circle");
  dot.setAttribute("cx", x(scores.length - 1).toFixed(1));
  dot.setAttribute("cy", y(scores[scores.length - 1]).toFixed(1));
  dot.setAttribute("r", "2.5");
  svg.append(path, dot);
  return svg;
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A uPlot chart that follows its box and the theme. `options` makes uPlot's own from the theme's colours. */
export class Chart {
  constructor(id, options) {
    this.box = document.getElementById(id);
    this.options = options;
    this.data = null;
    this.plot = null;
    new ResizeObserver(() => this.#fit()).observe(this.box);
    addEventListener("themechange", () => this.#draw());
  }

  show(data, label) {
    this.data = data;
    this.box.setAttribute("aria-label", label);
    if (this.plot === null) this.#draw();
    else this.plot.setData(data);
  }

  #size() {
    return { width: Math.max(120, this.box.clientWidth), height: Math.max(60, this.box.clientHeight) };
  }

  #fit() {
    if (this.plot !== null) this.plot.setSize(this.#size());
  }

  #draw() {
    if (this.data === null) return;
    this.plot?.destroy();
    this.plot = new uPlot({ ...this.#size(), ...this.options(color) }, this.data, this.box);
  }
}

export const axis = (color, extra = {}) => ({
  stroke: color("--muted"), font: "11px system-ui, sans-serif", size: 36, gap: 4,
  grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, ...extra,
});
