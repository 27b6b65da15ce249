// The line at the top: whether all is well. A live region, so it changes only when there is news.

import { say } from "/static/drawing.js";

export function showStatus(kind, text) {
  const line = document.getElementById("status");
  if (line.dataset.kind !== kind) line.dataset.kind = kind;
  say("status-text", text);
}

/** What is wrong, from the process's own readiness. */
export function readiness(stats) {
  if (stats.ready) return ["well", "live"];
  const words = Object.entries(stats.components).filter(([, said]) => !said.ok).map(([name, said]) => `${name}: ${said.is}`);
  return ["ill", words.length ? words.join("; ") : "starting"];
}
