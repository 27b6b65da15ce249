// What is wrong, at the top: a live region, so a title is read out once, when it comes. Numbers move in silence.

import { element, say } from "/static/drawing.js";
import { localTime } from "/static/words.js";

const SEVERITIES = { critical: "Fault", warning: "Attention" };

const items = new Map();

export function showNotices(notices) {
  const wanted = new Map(notices.map((notice) => [`${notice.kind}/${notice.of}/${notice.title}`, notice]));
  for (const [key, item] of items) if (!wanted.has(key)) { item.remove(); items.delete(key); }
  const list = listOf(notices.length);
  for (const [key, notice] of wanted) {
    if (!items.has(key)) {
      items.set(key, made(notice));
      list.append(items.get(key));
    }
    fill(items.get(key), notice);
  }
}

/** The list, there as long as it has something in it. */
function listOf(number) {
  const region = document.getElementById("notices");
  if (!number) region.replaceChildren();
  else if (!region.firstElementChild) region.append(element("ul"));
  return region.firstElementChild;
}

function made({ kind, severity, title }) {
  return element(
    "li", { "data-kind": kind, "data-severity": severity },
    element("span", { class: "severity" }, SEVERITIES[severity]),
    " ", // or a reader runs the words together
    element("strong", {}, title),
    element("p", { class: "note", "aria-live": "off" }),
  );
}

function fill(item, { severity, detail, since, alert }) {
  item.dataset.severity = severity;
  say(item.querySelector(".severity"), SEVERITIES[severity]);
  const begun = since === null ? "" : ` Since ${localTime(since)}.`;
  say(item.querySelector("p"), `${detail}${begun} In the runbook: ${alert}.`);
}
