// One task: its graph, when it ran where, what was written, what came of it and what that cost.

import { get, mayAct, patch, post } from "./api.js";
import { ask, attempt } from "./dialog.js";
import { h } from "./dom.js";
import { graph } from "./graph.js";
import { bindView } from "./keys.js";
import { LogView } from "./logs.js";
import { copyable, facts, failure, loading, progress, tabs } from "./parts.js";
import { Changes } from "./changes.js";
import { badge } from "./shapes.js";
import { changed, gently, nodeName, onActivity, state } from "./store.js";
import { detail } from "./subtask.js";
import { timeline } from "./timeline.js";
import { ago, count, duration, firstLine, moment, money, shortId, taskWord, time } from "./words.js";

const OVER = new Set(["completed", "failed", "cancelled"]);
const EXPLAIN_MS = 3000;

let task = null;
let taskId = "";
let problem = null;
let reasons = new Map();
let chosen = "";
let tab = "graph";
let log = null;
let changes = null;

const read = gently(async () => {
  const wanted = taskId;
  try {
    const found = await get(`tasks/${wanted}`);
    if (wanted !== taskId) return;
    task = found;
    problem = null;
  } catch (failed) {
    problem = failed;
  }
  changed();
});

const explain = gently(async () => {
  if (!task || OVER.has(task.status)) return;
  const found = await get(`tasks/${taskId}/explain`);
  reasons = new Map(found.subtasks.map((each) => [each.name, each]));
  changed();
}, 500);

export const taskView = {
  title: () => (task ? firstLine(task.description, 60) : "Task"),
  enter({ id, query }) {
    if (id !== taskId) reset(id);
    tab = query.tab ?? "graph";
    chosen = query.subtask ?? chosen;
    read();
    explain();
    bindView({ 1: () => go("graph"), 2: () => go("timeline"), 3: () => go("log"), 4: () => go("changes"), j: () => step(1), k: () => step(-1) });
    if (tab === "log") log.start();
    if (tab === "changes") changes.read();
    const timer = setInterval(explain, EXPLAIN_MS);
    const stop = onActivity((entries) => {
      if (entries && !entries.some((entry) => entry.task_id === task?.task_id)) return;
      read();
      explain();
    });
    return () => {
      clearInterval(timer);
      stop();
      log.stop();
    };
  },
  draw() {
    if (problem && !task) return failure(problem);
    if (!task) return loading();
    return [
      head(),
      tabs(tab, [
        ["graph", "Graph", address("graph"), task.subtasks.length],
        ["timeline", "Timeline", address("timeline")],
        ["log", "Log", address("log")],
        ["changes", "Changes", address("changes")],
      ], "Parts of the task"),
      h("div", { key: tab, class: `tab tab-${tab}` }, body()),
    ];
  },
};

function reset(id) {
  log?.stop();
  taskId = id;
  task = null;
  problem = null;
  reasons = new Map();
  chosen = "";
  log = new LogView(id);
  changes = new Changes(id);
}

function address(name) {
  const query = new URLSearchParams({ tab: name, ...(chosen && { subtask: chosen }) });
  return `#/task/${taskId}?${query}`;
}

function go(name) {
  location.hash = address(name);
}

function choose(name) {
  chosen = chosen === name ? "" : name;
  history.replaceState(null, "", address(tab));
  changed();
}

function step(by) {
  const names = task?.subtasks.map((each) => each.name) ?? [];
  chosen = names[Math.min(names.length - 1, Math.max(0, names.indexOf(chosen) + by))] ?? "";
  changed();
}

function body() {
  if (tab === "timeline") return timeline(task, { chosen, onchoose: choose });
  if (tab === "log") return log.draw(task);
  if (tab === "changes") return changes.draw(task);
  const items = task.subtasks.map((each) => ({
    name: each.name,
    needs: each.dependencies,
    status: shownStatus(each),
    tool: each.tool,
    nodeId: each.node_id,
  }));
  const subtask = task.subtasks.find((each) => each.name === chosen);
  return h("div", { class: `split${subtask ? " open" : ""}` },
    graph(items, { chosen, onchoose: choose }),
    subtask ? detail(task, subtask, reasons.get(subtask.name), { onclose: () => choose(chosen), onlog: () => { log.subtask = subtask.name; go("log"); } }) : overviewOf());
}

/** A subtask whose last node was lost shows that while it waits for another. */
function shownStatus(subtask) {
  const last = subtask.attempts.at(-1);
  return subtask.status === "pending" && last?.status === "lost" ? "lost" : subtask.status;
}

function overviewOf() {
  const held = task.subtasks.filter((each) => each.status === "pending").map((each) => reasons.get(each.name)).filter(Boolean);
  const told = held.filter((each) => each.waits_for !== "needs");
  return h("aside", { class: "detail" },
    h("h2", {}, "What it waits for"),
    told.length
      ? h("ul", { class: "reasons" }, told.slice(0, 12).map((each) => h("li", { key: each.name }, h("button", { type: "button", class: "link", onclick: () => choose(each.name) }, each.name), h("span", {}, each.reason))))
      : h("p", { class: "muted" }, OVER.has(task.status) ? task.details.reason || "It has ended." : "Nothing: what can run, runs."),
    h("p", { class: "muted small" }, "Choose a subtask for its attempts, scores and result."));
}

function head() {
  const costs = task.subtasks.flatMap((each) => each.attempts.map((one) => one.cost_usd)).filter((each) => each !== null && each !== undefined);
  const used = sum(task.subtasks.flatMap((each) => each.attempts.map((one) => (one.usage.tokens_in ?? 0) + (one.usage.tokens_out ?? 0))));
  const began = time(task.started_at ?? task.created_at);
  const lasted = (time(task.completed_at) ?? state.now) - began;
  const [title, ...rest] = task.description.trim().split("\n");
  return h("header", { class: "taskhead", key: "head" },
    h("div", { class: "titled" }, h("h1", {}, firstLine(title, 200)), h("div", { class: "acts" }, actions())),
    rest.join("").trim() && h("details", { class: "words" }, h("summary", {}, "All of its description"), h("pre", { tabindex: 0 }, task.description)),
    h("div", { class: "line" }, badge(task.paused ? "paused" : task.status, taskWord(task)), progress(task), h("span", {}, `${task.completed_count} of ${count(task.subtask_count, "subtask")}`)),
    task.details.reason && h("p", { class: "reason" }, task.details.reason),
    facts([
      ["Task", copyable(task.task_id, shortId(task.task_id))],
      ["Type", task.type.replaceAll("_", " ")],
      ["Submitted", h("time", { datetime: task.created_at, title: moment(task.created_at) }, ago(task.created_at))],
      ["From", nodeName(task.submitted_by)],
      [task.completed_at ? "Took" : "For", duration(lasted)],
      ["Privacy", task.privacy === "sensitive" ? "sensitive: trusted nodes only" : ""],
      ["Repository", task.repository && `${task.repository.source} @ ${task.repository.commit.slice(0, 8)}`],
      ["Tokens", used ? used.toLocaleString("en") : ""],
      ["Cost", costs.length ? money(sum(costs)) : ""],
      ["Budget", typeof task.budget_usd === "number" ? money(task.budget_usd) : ""],
    ]));
}

function sum(numbers) {
  return numbers.reduce((total, each) => total + each, 0);
}

function actions() {
  if (!mayAct()) return null;
  const over = OVER.has(task.status);
  return [
    !over && !task.details.cancelling && h("button", { key: "pause", type: "button", onclick: pause }, task.paused ? "Go on" : "Pause"),
    !over && !task.details.cancelling && h("button", { key: "cancel", type: "button", onclick: cancel }, "Cancel"),
    (task.status === "failed" || task.status === "cancelled") && h("button", { key: "retry", type: "button", class: "primary", onclick: retry }, "Try again"),
    task.status === "checkpoint" && h("a", { key: "decide", class: "button primary", href: "#/checkpoints" }, "Decide"),
  ];
}

async function cancel() {
  const reason = await ask({ title: "Cancel this task?", text: "What runs is stopped, on whichever machine it is. What has been done is kept.", action: "Cancel the task", danger: true, field: "Why (others see it with the task)" });
  if (reason !== null && (await attempt(() => post(`tasks/${taskId}/cancel`, { reason }), "The task is being cancelled."))) read();
}

async function pause() {
  const paused = !task.paused;
  const said = paused ? "Paused: what runs ends, and nothing new begins." : "The task goes on.";
  if (await attempt(() => patch(`tasks/${taskId}`, { paused }), said)) read();
}

async function retry() {
  if (await attempt(() => post(`tasks/${taskId}/retry`), "What failed is tried again.")) read();
}
