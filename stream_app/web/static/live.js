// The overview: one message a second from /api/live, shown as it is. Nothing is computed here that the API does not say.

import { BANDS, WHEN, bound, count, decimals, localTime, percent, points, rate, seconds, shopTime, step } from "/static/words.js";
import { axis, Chart, element, say, sparkline } from "/static/drawing.js";
import { showNotices } from "/static/notices.js";
import { showShop } from "/static/shop.js";
import { showStatus, wellness } from "/static/status.js";

const by = (id) => document.getElementById(id);

/** Without a message for so long the stream counts as lost. */
const SILENT_MS = 6000;

let source = null;
let heard = performance.now();
let paused = false;

// ---- the stream ------------------------------------------------------------------------------------------------------

function connect() {
  source?.close();
  const wanted = new URLSearchParams({ order: by("order").value, band: by("band").value });
  source = new EventSource(`/api/live?${wanted}`);
  heard = performance.now();
  source.onmessage = (message) => {
    heard = performance.now();
    if (!paused) show(JSON.parse(message.data));
  };
  source.onerror = () => {
    // A refusal closes it for good, and says nothing of why: the reason is asked for.
    if (source.readyState === EventSource.CLOSED) explainRefusal(`/api/live?${wanted}`);
    else showStatus("ill", "connection lost, trying again …");
  };
}

async function explainRefusal(url) {
  const asking = new AbortController();
  try {
    const answer = await fetch(url, { signal: asking.signal });
    if (answer.status === 503) {
      const { error } = await answer.json();
      showStatus("ill", `${error.expected}: ${error.do}`);
    }
  } catch {
    showStatus("ill", "the worker does not answer; trying again …");
  }
  asking.abort();
}

setInterval(() => {
  if (source !== null && performance.now() - heard > SILENT_MS) {
    if (by("status").dataset.kind !== "ill") showStatus("ill", "connection lost, trying again …");
    connect();
  }
}, 2000);

// A page that nobody sees asks for nothing.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    source?.close();
    source = null;
  } else connect();
});

// ---- charts ----------------------------------------------------------------------------------------------------------

const rateChart = new Chart("rate-chart", (color) => ({
  padding: [6, 14, 0, 0],
  cursor: { show: false },
  legend: { show: false },
  scales: { x: { time: false }, y: { range: (_, __, max) => [0, Math.max(1, max * 1.1)] } },
  axes: [
    axis(color, { size: 22, values: (_, ticks) => ticks.map((tick) => (tick === 0 ? "now" : `${tick / 60} min`)), incrs: [60], grid: { show: false } }),
    axis(color, { size: 46, space: 28, values: (_, ticks) => ticks.map((tick) => (tick >= 1000 ? `${tick / 1000}k` : tick)) }),
  ],
  series: [{}, { stroke: color("--accent"), fill: color("--accent-faint"), width: 1.5, points: { show: false } }],
}));

/** Both axes of the reliability chart end here: most scores are small, and would share one corner. */
let reach = 1;

const reliability = new Chart("reliability", (color) => ({
  padding: [8, 20, 0, 0],
  cursor: { show: false },
  legend: { show: false },
  scales: { x: { time: false, range: () => [0, reach] }, y: { range: () => [0, reach] } },
  axes: [
    axis(color, { size: 34, label: "predicted", labelSize: 14, labelFont: "11px system-ui, sans-serif", values: (_, ticks) => ticks.map((tick) => `${Math.round(100 * tick)}%`) }),
    axis(color, { size: 40, label: "bought", labelSize: 14, labelFont: "11px system-ui, sans-serif", values: (_, ticks) => ticks.map((tick) => `${Math.round(100 * tick)}%`) }),
  ],
  series: [
    {},
    { stroke: color("--muted"), dash: [4, 4], width: 1, points: { show: false }, spanGaps: true },
    { stroke: color("--accent"), width: 2, points: { show: true, size: 6, fill: color("--accent") }, spanGaps: true },
  ],
}));

// ---- what a message says ---------------------------------------------------------------------------------------------

function show({ stats, sessions, checkouts, discounts, shop, model }) {
  showStatus(...wellness(stats));
  showNotices(stats.notices);
  showScope(stats);
  showFigures(stats, model);
  showHistogram(stats);
  showSessions(sessions, stats);
  showCheckouts(checkouts, stats);
  showOffers(discounts);
  showShop(shop);
  showModel(model, stats);
  say("version", stats.version);
  document.body.dataset.messages = String(1 + Number(document.body.dataset.messages ?? 0));
}

function showScope({ scope, visitors }) {
  const hashed = visitors === "hashed" ? " Visitors are shown by a short hash." : "";
  if (!scope.worker) {
    say("scope", "This process learns and does not score: open the page of a worker to see its sessions.");
    return;
  }
  const mine = scope.partitions.length;
  const part = scope.of === null || mine === scope.of
    ? `All ${mine} partitions of the shop.`
    : `Partitions ${scope.partitions.join(", ")} of ${scope.of}: this worker's part of the shop; the other workers' pages show the rest.`;
  say("scope", mine ? part + hashed : "This worker has no partitions yet.");
}

function showFigures(stats, model) {
  const { events, sessions, latency } = stats;
  say("rate", rate(events.per_second));
  const rejected = Object.values(events.rejected).reduce((sum, n) => sum + n, 0);
  say("scored", `${count(events.scored)} scored${rejected ? `, ${count(rejected)} could not be read` : ""}`);
  say("since", localTime(stats.since));
  by("rejected").hidden = !events.rejected_per_second;
  if (events.rejected_per_second) say("rejected", `${rate(events.rejected_per_second)} per second cannot be read`);
  const seen = events.per_second_history;
  rateChart.show(
    [seen.map((_, n) => n + 1 - seen.length), seen],
    `Events per second over the last five minutes, now ${rate(events.per_second)}`,
  );
  say("open", count(sessions.open_visitors));
  const sampled = sessions.one_in > 1 ? `, 1 in ${sessions.one_in} visitors at this rate` : "";
  say("followed", `${count(sessions.followed)} sessions followed here${sampled}`);
  say("p50", seconds(latency.p50_seconds));
  say("p99", seconds(latency.p99_seconds));
  say("lag", stats.lag_records === null ? "backlog not known" : `${count(stats.lag_records)} events waiting`);
  const found = quality(model);
  say("auc", decimals(found?.roc_auc, 3));
  say("auc-note", aucNote(found, model));
}

/** The last examples where they are known, else all since the learner's start. */
const quality = (model) => model.learner?.recent ?? model.learner?.since_start ?? null;

function aucNote(found, model) {
  if (found === null) return model.problem ?? "not known here";
  if (found.roc_auc === null) return `after ${count(found.examples)} outcomes; it takes 20 checkouts and 20 other visits`;
  return `0.5 is chance, 1 perfect · last ${count(found.examples)} outcomes`;
}

function showHistogram({ histogram, sessions, bands, model }) {
  const { bounds, counts } = histogram;
  const body = by("histogram");
  const most = Math.max(1, ...counts);
  if (!body.children.length) {
    counts.forEach((_, n) => {
      const range = n === 0 ? `under ${bound(bounds[0])}` : n === bounds.length ? `over ${bound(bounds[n - 1])}` : `${bound(bounds[n - 1])} to ${bound(bounds[n])}`;
      body.append(element("tr", {}, element("th", { scope: "row" }, range), element("td", {}, element("span", { class: "bar" }), element("span", { class: "n" }))));
    });
  }
  counts.forEach((n, place) => {
    const row = body.children[place];
    const middle = ((bounds[place - 1] ?? 0) + (bounds[place] ?? 1)) / 2;
    row.dataset.band = model === null || middle < model.fence_min ? "unlikely" : middle < model.likely_min ? "on_the_fence" : "likely";
    row.querySelector(".bar").style.width = `${(72 * n) / most}%`;
    say(row.querySelector(".n"), count(n));
  });
  say("histogram-note", sessions.followed ? `${count(sessions.followed)} open sessions by their chance to buy` : "No open session has had an event since this page was opened.");
  const all = Object.values(bands).reduce((sum, n) => sum + n, 0);
  by("bands").replaceChildren(...Object.entries(bands).flatMap(([band, n]) => [
    element("dt", { "data-band": band }, BANDS[band]),
    element("dd", {}, element("span", { "data-count": band }, count(n)), all ? ` · ${percent(n / all)}` : ""),
  ]));
}

// ---- the list of sessions --------------------------------------------------------------------------------------------

const rows = new Map();

function showSessions(sessions, stats) {
  const body = by("session-rows");
  const wanted = new Map(sessions.map((session) => [session.visitor, session]));
  // Who is reading or about to follow a link must not have it taken away: rows stay where they are, with new numbers.
  const held = body.contains(document.activeElement) || body.matches(":hover");
  for (const [visitor, session] of wanted) {
    if (!rows.has(visitor) && !(held && rows.size)) rows.set(visitor, makeRow(session));
    if (rows.has(visitor)) fillRow(rows.get(visitor), session);
  }
  if (!held || !rows.size) {
    for (const [visitor, row] of rows) if (!wanted.has(visitor)) { row.remove(); rows.delete(visitor); }
    [...wanted.keys()].forEach((visitor, place) => {
      const row = rows.get(visitor);
      if (body.children[place] !== row) body.insertBefore(row, body.children[place] ?? null);
    });
  }
  const none = by("no-sessions");
  none.hidden = rows.size > 0;
  if (!rows.size) say(none, noSessions(stats));
}

function noSessions({ scope, sessions, events }) {
  if (!scope.worker) return "Sessions are shown on the pages of the workers.";
  if (by("band").value !== "all" && sessions.followed) return "No open session is in this band now. Choose “all” to see the others.";
  if (!events.scored) return "No event has come yet. Send some with “stream-app produce synthetic”, or see a whole shop with “make demo”.";
  return "No open session has had an event since this page was opened. It fills as visitors go on.";
}

function makeRow(session) {
  const cell = (name, ...inside) => element("td", { class: name }, ...inside);
  const link = element("a", { href: `/sessions/${encodeURIComponent(session.visitor)}`, class: "mono" }, session.visitor);
  return element("tr", {}, element("th", { scope: "row" }, link), cell("chance", scoreBar()), cell("curve"), cell("step"), cell("num events"), cell("why"));
}

function scoreBar() {
  return element("div", { class: "score" }, element("span", { class: "track", "aria-hidden": "true" }, element("span", { class: "fill" })), element("strong", {}), element("span", { class: "tag" }));
}

function fillRow(row, session) {
  const key = `${session.events}/${session.score}/${session.journey}/${session.reasons?.[0]?.words ?? session.reasons?.length}`;
  if (row.dataset.key === key) return;
  const fresh = row.dataset.key && !row.dataset.key.startsWith(`${session.events}/`);
  row.dataset.key = key;
  row.dataset.band = session.band;
  row.dataset.score = session.score;
  row.querySelector(".fill").style.width = `${100 * session.score}%`;
  say(row.querySelector(".score strong"), percent(session.score));
  say(row.querySelector(".tag"), session.cold ? "not learned yet" : BANDS[session.band]);
  row.querySelector(".curve").replaceChildren(sparkline(session.curve, `from ${percent(session.curve[0])} to ${percent(session.score)} over ${session.curve.length} events`));
  const kind = session.journey === null ? null : element("span", { class: "note kind" }, `journey of kind ${session.journey}`);
  row.querySelector(".step").replaceChildren(...[step(session.stage), kind].filter((part) => part !== null));
  say(row.querySelector(".events"), count(session.events));
  // Reasons of a new event come a moment later: until then those of the one before stay.
  if (session.reasons !== null || session.cold) row.querySelector(".why").replaceChildren(...why(session));
  if (fresh) flash(row);
}

function why({ reasons, cold }) {
  if (cold) return [element("span", { class: "note" }, "the base rate, until enough is learned")];
  if (!reasons?.length) return [];
  const [first, ...rest] = reasons;
  return [
    element("span", { class: "reason" }, odds(first), " ", first.words ?? first.title),
    element("span", { class: "more" }, ...rest.flatMap((reason) => [odds(reason), ` ${reason.title}  `])),
  ];
}

const odds = ({ odds: text, contribution }) =>
  element("span", { class: "odds", "data-for": contribution > 0 ? "yes" : "no", title: "by this the odds of a purchase are multiplied" }, text);

function flash(row) {
  row.classList.remove("fresh");
  requestAnimationFrame(() => row.classList.add("fresh"));
}

// ---- checkouts and the model -----------------------------------------------------------------------------------------

let shownCheckouts = "";

function showCheckouts(checkouts, { scope }) {
  const none = by("no-checkouts");
  none.hidden = checkouts.length > 0;
  if (!checkouts.length) say(none, scope.worker ? "None yet since this page was opened." : "Checkouts are shown on the pages of the workers.");
  const key = JSON.stringify(checkouts);
  if (key === shownCheckouts) return;
  shownCheckouts = key;
  by("checkouts").replaceChildren(...checkouts.map((checkout) => {
    const { before } = checkout;
    const said = before === null
      ? [element("span", { class: "note" }, "came before this page was opened, or at the first event")]
      : [element("strong", { "data-band": before.band }, percent(before.score)),
        element("span", { class: "note" }, `${before.cold ? "base rate" : BANDS[before.band]}, ${seconds(before.seconds_before)} before`)];
    return element(
      "li", {},
      element("div", {}, element("a", { class: "mono", href: `/sessions/${encodeURIComponent(checkout.visitor)}` }, checkout.visitor),
        element("span", { class: "note" }, ` ${shopTime(checkout.time)}${checkout.source === "label" ? " · told by the order system" : ""}`)),
      element("div", { class: "said" }, checkout.curve.length > 1 ? sparkline(checkout.curve, `the way there, ${checkout.curve.length} events`) : null, ...said),
    );
  }));
}

let shownOffers = "";

function showOffers({ offers, now, problem }) {
  const none = by("no-offers");
  none.hidden = offers.length > 0;
  if (!offers.length) say(none, problem ?? "None yet. “stream-app discounts” makes them, where it runs.");
  // With the state of each: one that runs out is shown anew.
  const key = JSON.stringify(offers.map((offer) => [offer.visitor, offer.issued_at, offer.expires_at > now]));
  if (key === shownOffers) return;
  shownOffers = key;
  by("offers").replaceChildren(...offers.map((offer) => element(
    "li", {},
    element("div", {}, element("a", { class: "mono", href: `/sessions/${encodeURIComponent(offer.visitor)}` }, offer.visitor),
      element("span", { class: "note" }, ` ${shopTime(offer.issued_at)} · ${WHEN[offer.reason] ?? offer.reason}${offer.expires_at > now ? "" : " · run out"}`)),
    element("div", { class: "said" }, element("strong", {}, `${decimals(offer.percent, offer.percent % 1 ? 1 : 0)}% off`),
      element("span", { class: "note" }, `at a chance of ${percent(offer.score)}`)),
  )));
}

function showModel(model, stats) {
  const { served, learner, problem } = model;
  const found = quality(model);
  const facts = [];
  if (served !== null) {
    facts.push(["Serving", served.version ? `${served.name}, version ${count(served.version)}` : "no model yet", served.cold ? "cold: the base rate is served" : served.unchanged_seconds < 2 ? "changed just now" : `unchanged for ${seconds(served.unchanged_seconds)}`]);
    facts.push(["Bands", `${percent(served.fence_min)} and ${percent(served.likely_min)}`, "on the fence and likely begin here"]);
  }
  if (learner !== null) {
    facts.push(["Learned", `${count(learner.learned.checkouts)} checkouts`, `and ${count(learner.learned.others)} visits without one`]);
    facts.push(["Calibration error", found.ece === null ? "–" : points(found.ece).replace("+", "") + " points", found.mean_score === null ? "" : `predicted ${percent(found.mean_score)}, bought ${percent(found.base_rate)}`]);
    facts.push(["Log-loss", decimals(found.log_loss, 4), found.log_loss_constant === null ? "" : `${decimals(found.log_loss_constant, 4)} by always saying the base rate`]);
    facts.push(["At the third event", decimals(learner.third_event.roc_auc, 3), "ROC AUC, since the start"]);
    const labels = Object.values(stats.labels).reduce((sum, n) => sum + n, 0);
    facts.push(["Order system", `${count(labels)} labels`, Object.entries(stats.labels).map(([outcome, n]) => `${count(n)} ${outcome.replaceAll("_", " ")}`).join(", ")]);
    facts.push(["Drift", learner.drift.alarms ? `${count(learner.drift.alarms)} alarms` : "none noticed", learner.drift.newest ? `newest: ${learner.drift.newest.what.replaceAll("_", " ")}` : ""]);
  }
  by("model-facts").replaceChildren(...facts.map(([name, value, note]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, element("strong", {}, value), element("span", { class: "note" }, note)))));
  const from = learner === null ? problem : learner.from === "trainer" ? "from the trainer in this process" : `from the newest snapshot, ${localTime(learner.published_at)}`;
  say("model-note", from ?? "");
  showReliability(found);
}

function showReliability(found) {
  const curve = found?.reliability ?? [];
  by("reliability").hidden = !curve.length;
  if (!curve.length) {
    say("reliability-note", "How often each score came true is drawn here after 20 checkouts and 20 other visits.");
    return;
  }
  const highest = Math.max(...curve.flatMap((bin) => [bin.score, bin.bought]));
  reach = [0.05, 0.1, 0.2, 0.3, 0.5, 0.7].find((end) => highest <= end) ?? 1;
  const ends = [0, reach];
  const x = [...new Set([...ends, ...curve.map((bin) => bin.score)])].sort((a, b) => a - b);
  const bought = new Map(curve.map((bin) => [bin.score, bin.bought]));
  reliability.show(
    [x, x, x.map((score) => bought.get(score) ?? null)],
    `Reliability: ${curve.map((bin) => `predicted ${percent(bin.score)}, bought ${percent(bin.bought)}`).join("; ")}`,
  );
  say("reliability-note", "Each dot is a tenth of the scores: what was predicted, and what share bought. On the dashed line they agree.");
}

// ---- controls --------------------------------------------------------------------------------------------------------

function listAnew() {
  for (const row of rows.values()) row.remove();
  rows.clear();
  connect();
}

for (const id of ["order", "band"]) by(id).addEventListener("change", listAnew);

by("pause").addEventListener("click", () => {
  paused = !paused;
  by("pause").setAttribute("aria-pressed", String(paused));
  say("pause", paused ? "Resume" : "Pause");
  if (paused) showStatus("idle", "paused");
});

connect();
