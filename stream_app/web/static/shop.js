// Who buys: what the whole shop's closed sessions say, and the kinds of journeys.

import { count, many, percent, seconds } from "/static/words.js";
import { element, say } from "/static/drawing.js";

const by = (id) => document.getElementById(id);

const NAMES = { source: "Source", country: "Country", category: "Category" };

/** Bars of a table end at one of these: shares that buy are small, and their intervals are what is to be compared. */
const REACHES = [0.05, 0.1, 0.2, 0.5, 1];

let newest = null;
let shown = "";

export function showShop(shop) {
  newest = shop;
  const { problem, sessions, journeys } = shop;
  const some = sessions !== null && sessions.sessions > 0;
  by("no-shop").hidden = some;
  by("shop-tables").hidden = !some;
  say("shop-note", some ? told(shop) : "");
  if (!some) {
    say("no-shop", problem ?? "No session has ended yet. One ends half an hour after its last event.");
    return;
  }
  // Drawn anew only when a number has moved: who reads a table keeps it.
  const key = JSON.stringify([sessions, journeys, by("shop-by").value]);
  if (key === shown) return;
  shown = key;
  const rows = [...sessions.by_length.filter((row) => row.sessions), ...sessions[`by_${by("shop-by").value}`]];
  const reach = reachOf(rows.filter((row) => row.sessions > 30).map((row) => row.high));
  by("lengths").replaceChildren(...sessions.by_length.map((row, n) => rateRow([lengthOf(sessions.by_length, n)], count(row.sessions), row, reach)));
  showNamed(sessions, reach);
  showKinds(journeys);
}

function told({ sessions, reading_back: back, passed_over: over, problem }) {
  const said = [`${many(sessions.sessions, "visit")} of the whole shop that ended, ${percent(sessions.share)} bought (${percent(sessions.low)} to ${percent(sessions.high)})`];
  if (over) said.push(`${count(over)} records passed over`);
  if (problem !== null) said.push(problem);
  else if (back) said.push("still reading back");
  return said.join(" · ");
}

function showNamed(sessions, reach) {
  const name = by("shop-by").value;
  say("by-name", NAMES[name]);
  by("by-rows").replaceChildren(...sessions[`by_${name}`].map((row) => rateRow([row[name]], count(row.sessions), row, reach)));
}

function showKinds({ journeys, needed, kinds, lately }) {
  const reach = reachOf(kinds.map((kind) => kind.bought_high));
  by("kinds").replaceChildren(...kinds.map((kind) => rateRow(
    [`${kind.number} · ${many(Math.max(1, Math.round(kind.steps)), "step")} in ${seconds(kind.seconds)}`, element("span", { class: "note" }, kind.words)],
    element("span", {}, percent(kind.share), element("span", { class: "note" }, `lately ${percent(kind.share_lately)}`)),
    { sessions: kind.journeys, share: kind.bought, low: kind.bought_low, high: kind.bought_high },
    reach,
  )));
  say("kinds-note", kinds.length ? `${many(journeys, "journey")}; ${drift(lately)}` : `Found when ${count(needed)} journeys are over, with ${count(journeys)} so far.`);
}

function drift({ journeys, chance }) {
  if (chance === null) return `lately: of the last ${count(journeys)}`;
  return chance < 0.01
    ? `the last ${count(journeys)} are of other kinds than those before (by chance in ${chance < 0.0001 ? "less than 1 case of 10,000" : percent(chance)})`
    : `the last ${count(journeys)} are of the same kinds as those before`;
}

function lengthOf(rows, n) {
  const begins = rows[n].from_seconds;
  const ends = rows[n + 1]?.from_seconds ?? null;
  if (begins === null) return "one moment";
  if (ends === null) return `over ${seconds(begins)}`;
  return begins === 0 ? `under ${seconds(ends)}` : `${seconds(begins)} to ${seconds(ends)}`;
}

const reachOf = (highs) => REACHES.find((reach) => Math.max(0, ...highs) <= reach) ?? 1;

function rateRow(name, cases, { sessions, share, low, high }, reach) {
  const cells = [element("th", { scope: "row" }, ...name), element("td", { class: "num" }, cases)];
  if (!sessions) return element("tr", {}, ...cells, element("td", {}, element("span", { class: "note" }, "none")));
  const interval = element("span", {});
  const place = (p) => `${Math.min(100, (100 * p) / reach)}%`;
  interval.style.left = place(low);
  interval.style.width = `${Math.min(100, (100 * high) / reach) - Math.min(100, (100 * low) / reach)}%`;
  const mark = element("b", {});
  mark.style.left = `min(${place(share)}, calc(100% - 3px))`;
  const label = `between ${percent(low)} and ${percent(high)}`;
  return element("tr", {}, ...cells, element("td", {}, element(
    "div", { class: "rate", title: label }, element("span", { class: "reach", "aria-hidden": "true" }, interval, mark), element("strong", {}, share ? percent(share) : "0%"), element("span", { class: "hidden" }, label),
  )));
}

by("shop-by").addEventListener("change", () => { if (newest !== null) showShop(newest); });
