// Small pictures. A status always has a shape of its own beside its colour, and a word beside both.

import { h } from "./dom.js";
import { statusWord } from "./words.js";

const RING = h("circle", { cx: 8, cy: 8, r: 6, class: "ring" });
const DISC = h("circle", { cx: 8, cy: 8, r: 7, class: "disc" });

const DRAWN = {
  pending: [h("circle", { cx: 8, cy: 8, r: 6, class: "ring dashed" })],
  initializing: [h("circle", { cx: 8, cy: 8, r: 6, class: "ring dashed" })],
  allocated: [RING, h("circle", { cx: 8, cy: 8, r: 2.5, class: "disc" })],
  in_progress: [
    h("circle", { cx: 8, cy: 8, r: 6, class: "ring faint" }),
    h("path", { d: "M8 2a6 6 0 0 1 6 6", class: "ring turning" }),
  ],
  review: [
    h("path", { d: "M1.5 8S4 3.7 8 3.7 14.5 8 14.5 8 12 12.3 8 12.3 1.5 8 1.5 8Z", class: "ring" }),
    h("circle", { cx: 8, cy: 8, r: 2, class: "disc" }),
  ],
  checkpoint: [
    h("path", { d: "M8 .8 15.2 8 8 15.2.8 8Z", class: "disc" }),
    h("path", { d: "M8 4.6v4M8 11v.4", class: "mark" }),
  ],
  completed: [DISC, h("path", { d: "m4.8 8.2 2.3 2.3 4.2-4.7", class: "mark" })],
  failed: [
    h("path", { d: "M5 1.2h6L14.8 5v6L11 14.8H5L1.2 11V5Z", class: "disc" }),
    h("path", { d: "m5.4 5.4 5.2 5.2m0-5.2-5.2 5.2", class: "mark" }),
  ],
  cancelled: [RING, h("path", { d: "m3.8 12.2 8.4-8.4", class: "ring" })],
  lost: [
    h("path", { d: "M8 1.5 15 14H1Z", class: "disc" }),
    h("path", { d: "M8 6v4M8 11.7v.4", class: "mark" }),
  ],
  paused: [RING, h("path", { d: "M6.3 5.5v5m3.4-5v5", class: "ring" })],
};
const SAME = { running: "in_progress", succeeded: "completed", accepted: "completed", rejected: "failed" };

/** Answers the picture of a status, for use within an SVG drawing of 16 by 16. */
export function glyphParts(status) {
  return DRAWN[SAME[status] ?? status] ?? DRAWN.pending;
}

export function statusClass(status) {
  const known = SAME[status] ?? status;
  return `s-${known in DRAWN ? known : "pending"}`;
}

export function glyph(status) {
  return h(
    "svg",
    { class: `glyph ${statusClass(status)}`, viewBox: "0 0 16 16", "aria-hidden": "true" },
    glyphParts(status),
  );
}

/** The picture and the word of a status. */
export function badge(status, word = statusWord(status)) {
  return h("span", { class: `badge ${statusClass(status)}` }, glyph(status), word);
}

const ICONS = {
  crown: "M1.5 12.5 1 4.5l4 3L8 2.5l3 5 4-3-.5 8Z",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8Z",
  close: "m4 4 8 8m0-8-8 8",
};

export function icon(name) {
  return h(
    "svg",
    { class: `icon i-${name}`, viewBox: "0 0 16 16", "aria-hidden": "true" },
    h("path", { d: ICONS[name] }),
  );
}
