// All tasks, newest first: filters, search, and as many rows as there are.

import { get } from "./api.js";
import { h } from "./dom.js";
import { bindView } from "./keys.js";
import { list, ListState } from "./list.js";
import { empty, failure, progress } from "./parts.js";
import { glyph } from "./shapes.js";
import { changed, gently, nodeName, onActivity, state } from "./store.js";
import { ago, count, firstLine, shortId, taskWord } from "./words.js";

const PAGE = 200;
const NEWEST = 60;
const IDS_MAX = 90;
const ROW_HEIGHT = 56;
const STATUSES = ["", "in_progress", "checkpoint", "failed", "completed", "cancelled", "pending"];

let rows = [];
let byId = new Map();
let cursor = null;
let asked = { status: "", search: "" };
let problem = null;
let reading = false;
let stale = new Set();
let at = new ListState();
let typing = 0;

async function readPage(fresh) {
  if (reading && !fresh) return;
  reading = true;
  const { status, search } = asked;
  try {
    const page = await get("tasks", { status, search, limit: PAGE, cursor: fresh ? "" : cursor });
    if (status !== asked.status || search !== asked.search) return; // asked for something else since
    take(fresh ? page.tasks : [...rows, ...page.tasks]);
    cursor = page.next_cursor;
    problem = null;
  } catch (failed) {
    problem = failed;
  } finally {
    reading = false;
    changed();
  }
}

function take(tasks) {
  rows = tasks;
  byId = new Map(rows.map((each, index) => [each.task_id, index]));
}

/** Reads again what has changed: new tasks at the top, and rows of tasks that something befell. */
const readNews = gently(async () => {
  const ids = [...stale].filter((id) => byId.has(id)).slice(0, IDS_MAX);
  const unknown = [...stale].some((id) => !byId.has(id));
  stale = new Set([...stale].filter((id) => byId.has(id) && !ids.includes(id)));
  const { status, search } = asked;
  const [known, newest] = await Promise.all([
    ids.length ? get("tasks", { ids: ids.join(","), limit: IDS_MAX }) : { tasks: [] },
    unknown || status ? get("tasks", { status, search, limit: NEWEST }) : { tasks: [] },
  ]);
  const next = [...rows];
  for (const task of known.tasks) next[byId.get(task.task_id)] = task;
  const fresh = newest.tasks.filter((task) => !byId.has(task.task_id));
  take([...fresh, ...next].filter((task) => !status || task.status === status));
  if (stale.size) readNews();
  changed();
});

function heard(entries) {
  if (entries === null) readPage(true);
  else {
    for (const entry of entries) if (entry.task_id) stale.add(entry.task_id);
    if (stale.size) readNews();
  }
}

export const tasks = {
  title: () => "Tasks",
  enter({ query }) {
    const wanted = { status: query.status ?? "", search: query.search ?? "" };
    if (wanted.status !== asked.status || wanted.search !== asked.search) {
      at = new ListState();
      take([]);
    }
    asked = wanted;
    readPage(true);
    bindView({
      j: () => at.move(1, rows.length, ROW_HEIGHT),
      k: () => at.move(-1, rows.length, ROW_HEIGHT),
      o: () => rows[at.chosen] && (location.hash = `#/task/${rows[at.chosen].task_id}`),
    });
    return onActivity(heard);
  },
  draw() {
    return [
      h("div", { class: "titled" }, h("h1", {}, "Tasks"), h("a", { class: "button primary", href: "#/submit" }, "New task")),
      filters(),
      problem && failure(problem),
      rows.length
        ? list({ at, count: rows.length, rowHeight: ROW_HEIGHT, label: "Tasks", keyOf: (index) => rows[index].task_id, row: (index) => row(rows[index]), onend: cursor ? () => readPage(false) : null })
        : !reading && !problem && empty(asked.status || asked.search ? "No task fits." : "No task yet.", h("p", {}, h("a", { href: "#/submit" }, "Submit one"))),
    ];
  },
};

function go(changes) {
  const next = { ...asked, ...changes };
  const query = new URLSearchParams(Object.entries(next).filter(([, value]) => value)).toString();
  location.replace(`#/tasks${query ? `?${query}` : ""}`);
}

function search(value) {
  clearTimeout(typing);
  typing = setTimeout(() => go({ search: value }), 150);
}

function filters() {
  const counts = state.cluster?.tasks ?? {};
  const total = Object.values(counts).reduce((sum, each) => sum + each, 0);
  return h("div", { class: "filters" },
    h("input", { id: "search", type: "search", placeholder: "Search descriptions ( / )", "aria-label": "Search tasks", "data-value": asked.search, own: searchBox, oninput: (event) => search(event.target.value) }),
    h("div", { class: "chips", role: "group", "aria-label": "Status" },
      STATUSES.filter((status) => !status || counts[status] || asked.status === status).map((status) =>
        h("button", { key: status || "all", type: "button", "aria-pressed": String(asked.status === status), onclick: () => go({ status }) },
          status ? glyph(status) : null, status ? taskWord({ status }) : "all", h("span", { class: "count" }, status ? counts[status] ?? 0 : total)))));
}

/** The field is the person's while it is typed into. */
const searchBox = {
  update(node) {
    if (document.activeElement !== node && node.value !== asked.search) node.value = asked.search;
  },
};

function row(task) {
  return h("a", { href: `#/task/${task.task_id}`, class: "task" },
    glyph(task.paused ? "paused" : task.status),
    h("span", { class: "what" }, h("span", { class: "title" }, firstLine(task.description)),
      h("span", { class: "muted" }, `${shortId(task.task_id)} · ${task.type.replaceAll("_", " ")} · ${count(task.subtask_count, "subtask")}${task.privacy === "sensitive" ? " · sensitive" : ""}${task.submitted_by ? ` · from ${nodeName(task.submitted_by)}` : ""}`)),
    h("span", { class: "state" }, taskWord(task)),
    progress(task),
    h("span", { class: "muted when" }, ago(task.created_at)));
}
