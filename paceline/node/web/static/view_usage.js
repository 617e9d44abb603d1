// What the agents used and what it cost.

import { getOrNull } from "./api.js";
import { h } from "./dom.js";
import { empty, failure, loading, panel } from "./parts.js";
import { changed, gently, nodeName, onActivity } from "./store.js";
import { money } from "./words.js";

let usage;
let problem = null;

const read = gently(async () => {
  try {
    usage = await getOrNull("usage");
    problem = null;
  } catch (failed) {
    problem = failed;
  }
  changed();
}, 1000);

export const usageView = {
  title: () => "Usage",
  enter() {
    read();
    return onActivity(read);
  },
  draw() {
    if (problem) return failure(problem);
    if (usage === undefined) return loading();
    if (usage === null) return empty("No usage is counted yet.");
    const tables = Object.entries(usage).filter(([, value]) => Array.isArray(value) && value.length && typeof value[0] === "object");
    return [h("h1", {}, "Usage"), tables.length ? tables.map(([name, rows]) => panel(title(name), null, table(rows))) : empty("Nothing has been used yet.")];
  },
};

function title(name) {
  const words = name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}

function table(rows) {
  const names = Object.keys(rows[0]);
  const most = Math.max(0, ...rows.map((row) => row.cost_usd ?? 0));
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Usage" }, h("table", { class: "table" },
    h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col", class: typeof rows[0][name] === "number" ? "number" : "" }, title(name).replace(" usd", ""))), most > 0 && h("th", {}, h("span", { class: "hidden" }, "Share")))),
    h("tbody", {}, rows.slice(0, 500).map((row, at) => h("tr", { key: at }, names.map((name) => h("td", { class: typeof row[name] === "number" ? "number" : "" }, cell(name, row[name]))), most > 0 && h("td", { class: "share" }, h("span", { style: { width: `${(100 * (row.cost_usd ?? 0)) / most}%` } })))))));
}

function cell(name, value) {
  if (value === null || value === undefined) return "–";
  if (name === "cost_usd") return money(value);
  if (name === "node_id") return nodeName(value);
  return typeof value === "number" ? value.toLocaleString("en") : typeof value === "object" ? JSON.stringify(value) : String(value);
}
