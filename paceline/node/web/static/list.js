// A list of any length of which only what is in sight exists. Rows have one height.

import { h } from "./dom.js";
import { changed } from "./store.js";

const BEYOND = 8;

/** Keeps where a list is scrolled to, and which row is chosen by the keyboard. */
export class ListState {
  top = 0;
  height = 600;
  chosen = -1;
  element = null;

  move(by, count, rowHeight) {
    if (!count) return;
    this.chosen = Math.min(count - 1, Math.max(0, this.chosen + by));
    const at = this.chosen * rowHeight;
    if (this.element) {
      if (at < this.element.scrollTop) this.element.scrollTop = at;
      const lowest = at + rowHeight - this.element.clientHeight;
      if (lowest > this.element.scrollTop) this.element.scrollTop = lowest;
      this.top = this.element.scrollTop;
    }
    changed();
    requestAnimationFrame(() => requestAnimationFrame(() => this.focus()));
  }

  focus() {
    this.element?.querySelector(`[data-row="${this.chosen}"] a`)?.focus({ preventScroll: true });
  }
}

/** Draws a list; `row(index)` describes the inside of one row; `onend` asks for more rows. */
export function list({ at, count, rowHeight, row, label, onend, keyOf }) {
  const first = Math.max(0, Math.floor(at.top / rowHeight) - BEYOND);
  const last = Math.min(count, Math.ceil((at.top + at.height) / rowHeight) + BEYOND);
  const rows = [];
  for (let index = first; index < last; index += 1) {
    rows.push(
      h(
        "div",
        {
          key: keyOf(index),
          role: "listitem",
          "aria-setsize": count,
          "aria-posinset": index + 1,
          "data-row": index,
          class: `row${index === at.chosen ? " chosen" : ""}`,
          style: { transform: `translateY(${index * rowHeight}px)`, height: `${rowHeight}px` },
        },
        row(index),
      ),
    );
  }
  if (onend && last >= count - 40) onend();
  return h(
    "div",
    { class: "vlist", tabindex: 0, role: "group", "aria-label": label, onscroll: (event) => scrolled(event, at) },
    h("div", { class: "measure", own: { mount: (node) => watch(node, at) }, hidden: true }),
    h("div", { class: "rows", role: "list", style: { height: `${count * rowHeight}px` } }, rows),
  );
}

function scrolled(event, at) {
  at.top = event.currentTarget.scrollTop;
  at.height = event.currentTarget.clientHeight;
  changed();
}

function watch(node, at) {
  requestAnimationFrame(() => {
    at.element = node.parentElement;
    if (!at.element) return;
    at.height = at.element.clientHeight || at.height;
    at.element.scrollTop = at.top;
    changed();
  });
}
