// One visitor's page: asked for anew every two seconds while it is seen.

import { BANDS, count, many, percent, points, seconds, shopTime, step } from "/static/words.js";
import { axis, Chart, element, say } from "/static/drawing.js";
import { showStatus } from "/static/status.js";

const by = (id) => document.getElementById(id);
const visitor = decodeURIComponent(location.pathname.split("/").pop());
const url = `/api/sessions/${encodeURIComponent(visitor)}`;

const ASK_MS = 2000;

say("visitor", visitor);
document.title = `${visitor} · stream-app`;
by("json").href = url;
by("json").textContent = url;

const chart = new Chart("score-chart", (color) => ({
  padding: [8, 12, 0, 0],
  cursor: { y: false },
  legend: { show: false },
  scales: { x: { time: false }, y: { range: [0, 1] } },
  axes: [
    axis(color, { size: 30, incrs: [1, 2, 5, 10, 20, 50, 100], space: 40, values: (_, ticks) => ticks.map((tick) => `#${tick}`) }),
    axis(color, { size: 44, incrs: [0.25], values: (_, ticks) => ticks.map((tick) => `${Math.round(100 * tick)}%`) }),
  ],
  series: [{}, { stroke: color("--accent"), fill: color("--accent-faint"), width: 2, points: { show: true, size: 6, fill: color("--accent") } }],
}));

async function ask() {
  if (document.hidden) return;
  try {
    const answer = await fetch(url, { cache: "no-store" });
    const said = await answer.json();
    if (answer.ok) show(said);
    else missing(said.error);
  } catch {
    showStatus("ill", "the worker does not answer; trying again …");
  }
}

function missing(error) {
  by("missing").hidden = false;
  by("content").hidden = true;
  say("missing", `Not here: expected ${error.expected}. What to do: ${error.do}.`);
  showStatus("ill", error.status === 503 ? error.got : "nothing known of this visitor here");
}

function show({ session, state, journey, explanation, problem }) {
  by("missing").hidden = true;
  by("content").hidden = false;
  if (problem !== null) showStatus("ill", problem);
  else if (session === null) showStatus("idle", "no event seen since the live page was opened");
  else showStatus(session.open ? "well" : "idle", session.open ? "session open" : "session ended");
  const last = session ?? state?.last_score ?? null;
  say("score", last === null ? "–" : percent(last.score));
  by("score").dataset.band = last?.band ?? "";
  say("band", last === null ? "no score yet" : last.cold ? "the base rate: nothing was learned yet" : BANDS[last.band]);
  showEvents(session);
  showWhy(explanation, last);
  showKnown(state, journey);
}

let shownEvents = "";

function showEvents(session) {
  const events = session?.events ?? [];
  const key = JSON.stringify(events);
  if (key === shownEvents) return;
  shownEvents = key;
  if (events.length) {
    chart.show(
      [events.map((event) => event.number), events.map((event) => event.score)],
      `Score after each event, from ${percent(events[0].score)} to ${percent(events[events.length - 1].score)}; the table below has the numbers`,
    );
  }
  by("events").classList.toggle("no-reasons", !events.some((event) => event.reasons?.length));
  const unseen = session?.not_shown ?? 0;
  say("events-note", events.length ? `${many(session.events_in_all, "event")}${unseen ? `, ${count(unseen)} of them not seen here` : ""}` : "none seen here");
  by("event-rows").replaceChildren(...events.toReversed().map((event) => element(
    "tr", { "data-band": event.band },
    element("td", { class: "num" }, count(event.number)),
    element("td", {}, shopTime(event.event_time), event.late ? element("span", { class: "note" }, " late") : null),
    element("td", {}, step(event.event_type)),
    element("td", {}, scoreOf(event)),
    element("td", { class: "num change", "data-for": event.change > 0 ? "yes" : "no" }, event.change === null ? "" : `${points(event.change)} points`),
    element("td", { class: "why" }, ...(event.reasons ?? []).flatMap((reason) => [odds(reason), ` ${reason.title}  `])),
  )));
}

function scoreOf({ score }) {
  const fill = element("span", { class: "fill" });
  fill.style.width = `${100 * score}%`;
  return element("div", { class: "score" }, element("span", { class: "track", "aria-hidden": "true" }, fill), element("strong", {}, percent(score)));
}

const odds = ({ odds: text, contribution }) => element("span", { class: "odds", "data-for": contribution > 0 ? "yes" : "no" }, text);

/** As `core/reason_words.odds_factor`. */
function factor(contribution) {
  const f = Math.exp(Math.max(-50, Math.min(50, contribution)));
  if (f >= 99.5) return "×100 or more";
  if (f < 0.0095) return "×0.01 or less";
  return `×${f >= 9.95 ? f.toFixed(0) : f >= 0.95 ? f.toFixed(1) : f.toFixed(2)}`;
}

const WHY_SHOWN = 6;

function showWhy(explanation, last) {
  if (explanation === null) {
    say("why-note", last?.cold ? "Every visitor has the base rate until enough is learned." : "Not known: Redis has no score of this visitor, or no model serves here.");
    by("why").replaceChildren();
    return;
  }
  const { usual, score_now: now, reasons, exact } = explanation;
  say("why-note", `A usual visit is given ${percent(usual.score)}, this one ${percent(now)} by the newest model. What multiplies its odds, strongest first${exact ? "" : " (approximately: the model is not linear)"}:`);
  const most = Math.max(0.01, ...reasons.map((reason) => Math.abs(reason.contribution)));
  by("why").replaceChildren(...reasons.slice(0, WHY_SHOWN).map((reason) => {
    const bar = element("span", { class: "pull", "data-for": reason.contribution > 0 ? "yes" : "no", "aria-hidden": "true" });
    bar.style.width = `${(50 * Math.abs(reason.contribution)) / most}%`;
    return element("li", {}, element("div", { class: "why-head" }, element("strong", {}, reason.title), odds({ odds: factor(reason.contribution), contribution: reason.contribution })),
      element("div", { class: "pulls", "aria-hidden": "true" }, bar), element("p", { class: "note" }, reason.words));
  }));
}

function showKnown(state, journey) {
  const facts = [];
  if (state === null) facts.push(["State", "Redis does not know this visitor (any more)"]);
  else {
    const { history, sessions } = state;
    facts.push(["Earlier visits", history.sessions ? `${count(history.sessions)}, ${count(history.purchases)} with a purchase` : "none known"]);
    if (history.spend) facts.push(["Spent before", history.spend.toFixed(2)]);
    for (const session of sessions) {
      facts.push(["This visit", `${many(session.events, "event")} in ${seconds(session.age_ms / 1000)}`]);
      if (session.purchases) facts.push(["Bought", `${many(session.purchases, "time")}, ${session.spend.toFixed(2)}`]);
      if (session.cart.items) facts.push(["Cart", `${many(session.cart.items, "item")}, ${session.cart.value.toFixed(2)}`]);
      for (const [name, label] of [["items", "Items"], ["categories", "Categories"], ["brands", "Brands"]]) {
        const named = Object.entries(session[name]).sort(([, a], [, b]) => b - a);
        if (named.length) facts.push([label, named.slice(0, 5).map(([item, n]) => (n > 1 ? `${item} ×${n}` : item)).join(", ") + (named.length > 5 ? ", …" : "")]);
      }
      const from = [session.source, session.country, session.mobile ? "mobile" : null].filter(Boolean);
      if (from.length) facts.push(["Came by", from.join(", ")]);
      facts.push(["Ends", `${shopTime(session.ends_at)} if nothing comes`]);
    }
    if (!sessions.length) facts.push(["This visit", "is over"]);
    if (journey !== null) facts.push([`A journey of kind ${journey.number}`, `${journey.words}; ${percent(journey.bought)} of these buy`]);
  }
  by("known").replaceChildren(...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

document.addEventListener("visibilitychange", ask);
setInterval(ask, ASK_MS);
ask();
