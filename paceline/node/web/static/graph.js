// The graph of a task as a picture. Small graphs have boxes with words; large ones have a grid of
// shapes, whose words appear for the one that is chosen.

import { h } from "./dom.js";
import { layout } from "./layers.js";
import { glyphParts, statusClass } from "./shapes.js";
import { nodeName } from "./store.js";
import { statusWord } from "./words.js";

const LARGE = 80;
const BOX = { boxWidth: 176, boxHeight: 52, gapX: 52, gapY: 16 };
const DOT = { boxWidth: 18, boxHeight: 18, gapX: 30, gapY: 6 };
const MARGIN = 10;
const SMALLEST = 0.66;
/* A wide graph is drawn smaller to fit, but never so small that its words cannot be read. */

let remembered = { key: "", placed: null };

/** Draws `{name, needs, status?, tool?, nodeId?}` items; `onchoose(name)` where one can be chosen. */
export function graph(items, { chosen = "", onchoose = null, label = "Graph of subtasks" } = {}) {
  const small = items.length <= LARGE;
  const placed = place(items, small);
  const width = placed.width + 2 * MARGIN;
  const height = placed.height + 2 * MARGIN;
  return h(
    "div",
    { class: "graph", tabindex: 0, role: "group", "aria-label": label },
    h(
      "svg",
      { viewBox: `${-MARGIN} ${-MARGIN} ${width} ${height}`, width, height, class: small ? "" : "large", style: { "min-width": `${Math.round(width * SMALLEST)}px` } },
      arrows(placed, chosen, small, items),
      items.map((each) => node(each, placed.boxes.get(each.name), small, chosen, onchoose)),
    ),
  );
}

/** The places depend on names and needs alone, so a change of status moves nothing. */
function place(items, small) {
  const key = JSON.stringify([small, items.map((each) => [each.name, each.needs])]);
  if (key !== remembered.key) remembered = { key, placed: layout(items, small ? BOX : DOT) };
  return remembered.placed;
}

function arrows(placed, chosen, small, items) {
  const status = new Map(items.map((each) => [each.name, each.status]));
  const shown = small ? placed.arrows : placed.arrows.filter((each) => touches(each, chosen));
  return h(
    "g",
    { key: "arrows", "aria-hidden": "true" },
    shown.map((each) =>
      h("path", {
        key: `${each.from}>${each.to}`,
        d: each.path,
        class: `arrow${status.get(each.from) === "completed" ? " passed" : ""}${touches(each, chosen) ? " lit" : ""}`,
      }),
    ),
  );
}

function touches(arrow, chosen) {
  return chosen !== "" && (arrow.from === chosen || arrow.to === chosen);
}

function node(item, at, small, chosen, onchoose) {
  const status = item.status ?? "pending";
  const words = [item.name, item.status && statusWord(status), item.nodeId && `on ${nodeName(item.nodeId)}`];
  const act = onchoose && {
    tabindex: 0,
    role: "button",
    "aria-pressed": String(chosen === item.name),
    onclick: () => onchoose(item.name),
    onkeydown: (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      onchoose(item.name);
    },
  };
  return h(
    "g",
    {
      key: `n:${item.name}`,
      transform: `translate(${at.x} ${at.y})`,
      class: `vertex ${statusClass(status)}${chosen === item.name ? " chosen" : ""}${onchoose ? " act" : ""}`,
      ...(!small && { "aria-label": words.filter(Boolean).join(", ") }),
      ...(act ?? (!small && { role: "img" })),
    },
    small ? box(item, status) : dot(item, status),
  );
}

function box(item, status) {
  const under = [item.status ? statusWord(status) : "", item.nodeId ? nodeName(item.nodeId) : item.tool];
  return [
    h("rect", { width: BOX.boxWidth, height: BOX.boxHeight, rx: 8, class: "box" }),
    h("g", { transform: "translate(12 10)", class: "glyph" }, glyphParts(status)),
    h("text", { x: 36, y: 22, class: "name" }, cut(item.name, 19)),
    " ", // keeps the words apart for those who hear them
    h("text", { x: 36, y: 40, class: "under" }, cut(under.filter(Boolean).join(" · "), 23)),
  ];
}

function dot(item, status) {
  return [
    h("rect", { x: -2, y: -2, width: 22, height: 22, rx: 5, class: "box" }),
    h("g", { transform: "translate(1 1)", class: "glyph" }, glyphParts(status)),
    h("title", {}, item.name),
  ];
}

function cut(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
