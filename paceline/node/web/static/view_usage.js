// What the agents used and what it cost: by day, by tool, by node.

import { getOrNull } from "./api.js";
import { h } from "./dom.js";
import { empty, facts, failure, loading, panel } from "./parts.js";
import { changed, gently, nodeName, onActivity } from "./store.js";
import { count, money } from "./words.js";

const KINDS = ["day", "tool", "node"];

let sums;
let problem = null;

const read = gently(async () => {
  try {
    sums = await Promise.all(KINDS.map((by) => getOrNull("usage", { by })));
    problem = null;
  } catch (failed) {
    problem = failed;
  }
  changed();
}, 2000);

export const usageView = {
  title: () => "Usage",
  enter() {
    read();
    return onActivity(read);
  },
  draw() {
    if (problem) return failure(problem);
    if (sums === undefined) return loading();
    const total = sums[0]?.total;
    return [
      h("h1", {}, "Usage"),
      total?.attempts ? [totals(total), sums.map((each) => panel(`By ${each.by}`, null, table(each)))] : empty("No agent has used anything yet.", h("p", {}, "Tokens and cost appear here as soon as a tool reports them.")),
    ];
  },
};

function totals(total) {
  return facts([
    ["Cost", h("strong", { class: "sum" }, money(total.cost_usd))],
    ["Tokens in", total.tokens_in.toLocaleString("en")],
    ["Tokens out", total.tokens_out.toLocaleString("en")],
    ["Attempts", total.attempts.toLocaleString("en")],
    ["Without a price", total.unpriced ? count(total.unpriced, "attempt") : ""],
  ]);
}

const COLUMNS = [["Attempts", "attempts"], ["Tokens in", "tokens_in"], ["Tokens out", "tokens_out"], ["Cached", "cached"], ["Cost", "cost_usd"]];

function table({ by, rows, more }) {
  const most = Math.max(0, ...rows.map((row) => row.cost_usd || row.tokens_out));
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `Usage by ${by}` }, h("table", { class: "table" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, by[0].toUpperCase() + by.slice(1)), COLUMNS.map(([title]) => h("th", { scope: "col", class: "number", key: title }, title)), h("th", { key: "~" }, h("span", { class: "hidden" }, "Share")))),
    h("tbody", {}, rows.slice(0, 366).map((row) => h("tr", { key: row[by] },
      h("td", {}, by === "node" ? nodeName(row.node) : row[by]),
      COLUMNS.map(([title, name]) => h("td", { key: title, class: "number" }, name === "cost_usd" ? money(row[name]) : row[name].toLocaleString("en"))),
      h("td", { class: "share", key: "~" }, h("span", { style: { width: `${(100 * (row.cost_usd || row.tokens_out)) / (most || 1)}%` } })))))),
    more > 0 && h("p", { class: "muted" }, `and ${more} more`));
}
