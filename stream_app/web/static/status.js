// The line at the top: whether all is well. A live region, so it changes only when there is news.

import { say } from "/static/drawing.js";

export function showStatus(kind, text) {
  const line = document.getElementById("status");
  if (line.dataset.kind !== kind) line.dataset.kind = kind;
  say("status-text", text);
}

/** Whether all is well. What is not is told by the notices below, in words that may change every second. */
export function wellness({ notices, ready }) {
  if (!notices.length) return ready ? ["well", "live"] : ["ill", "starting"];
  return ["ill", notices.length === 1 ? "live, with a notice" : `live, with ${notices.length} notices`];
}
