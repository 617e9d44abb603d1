// Parts that several views use.

import { h } from "./dom.js";
import { say } from "./dialog.js";
import { icon } from "./shapes.js";

export function panel(title, extra, ...children) {
  return h(
    "section",
    { class: "panel" },
    title && h("header", {}, h("h2", {}, title), extra),
    children,
  );
}

export function progress(task) {
  const percent = task.progress ?? 0;
  return h(
    "span",
    { class: `progress s-${task.status}`, role: "img", "aria-label": `${percent} % done` },
    h("span", { class: "done", style: { width: `${percent}%` } }),
  );
}

/** Something that people paste elsewhere. */
export function copyable(text, shown = text) {
  const copy = () => navigator.clipboard.writeText(text).then(() => say("Copied."), () => say("The browser does not allow it.", "bad"));
  return h("span", { class: "copyable" }, h("code", { title: text }, shown),
    h("button", { type: "button", class: "quiet", "aria-label": `Copy ${shown}`, onclick: copy }, icon("copy")));
}

export function facts(rows) {
  const said = rows.filter((row) => row && row[1] !== null && row[1] !== undefined && row[1] !== "");
  return h("dl", { class: "facts" }, said.map(([name, value]) => h("div", { key: name }, h("dt", {}, name), h("dd", {}, value))));
}

export function empty(title, ...children) {
  return h("div", { class: "empty" }, h("p", { class: "head" }, title), children);
}

export function failure(problem) {
  return empty("This cannot be shown", h("p", {}, problem.message));
}

export function loading() {
  return h("p", { class: "empty", role: "status" }, "Reading …");
}

export function command(words) {
  return copyable(words);
}

/** Tabs that are links, so that each has an address. */
export function tabs(current, entries, label) {
  return h("nav", { class: "tabs", "aria-label": label },
    entries.filter(Boolean).map(([name, title, href, extra]) =>
      h("a", { key: name, href, "aria-current": current === name ? "page" : null }, title, extra ? h("span", { class: "count" }, extra) : null)));
}
