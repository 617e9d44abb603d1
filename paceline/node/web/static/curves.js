// Curves of what a machine was doing, from what this page has seen since it was opened.

import { h } from "./dom.js";

const WIDTH = 120;
const HEIGHT = 26;

/** Draws values from 0 to 100, the newest at the right. */
export function curve(values, kind) {
  const start = WIDTH - values.length;
  const points = values.map((value, at) => `${start + at} ${(HEIGHT - 1 - (value / 100) * (HEIGHT - 2)).toFixed(1)}`);
  const line = points.length > 1 ? `M${points.join("L")}` : "";
  return h(
    "svg",
    { class: `curve c-${kind}`, viewBox: `0 0 ${WIDTH - 1} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    line && h("path", { class: "area", d: `${line}V${HEIGHT}H${start}Z` }),
    line && h("path", { class: "line", d: line }),
  );
}

/** One line: what it is, its curve, and its value now. */
export function gauge(label, kind, samples) {
  const values = samples.map((sample) => sample[kind]);
  const now = values.at(-1);
  return h(
    "div",
    { class: `gauge${now > 90 ? " high" : ""}` },
    h("span", { class: "label" }, label),
    curve(values, kind),
    h("span", { class: "number" }, now === undefined ? "–" : `${Math.round(now)} %`),
  );
}
