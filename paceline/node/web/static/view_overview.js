// The first glance: who leads, who works on what, what waits for a person.

import { gauge } from "./curves.js";
import { h } from "./dom.js";
import { get, mayAct, post } from "./api.js";
import { attempt } from "./dialog.js";
import { empty, panel, progress } from "./parts.js";
import { glyph, icon } from "./shapes.js";
import { changed, gently, nodeName, onActivity, state } from "./store.js";
import { topology } from "./topology.js";
import { ago, bytes, clock, count, firstLine, inOurTime, news, shortId, since } from "./words.js";

const TASKS_SHOWN = 7;
const EVENTS_SHOWN = 12;
const RUNNING_SHOWN = 10;
const CARDS_BESIDE = 6;

let tasks = null;

const readTasks = gently(async () => {
  tasks = (await get("tasks", { limit: TASKS_SHOWN })).tasks;
  changed();
});

export const overview = {
  title: () => "Overview",
  enter() {
    readTasks();
    return onActivity(readTasks);
  },
  draw() {
    const { cluster } = state;
    if (!cluster) return h("div", { class: "skeleton", "aria-hidden": "true" }, h("div", {}), h("div", {}), h("div", {}));
    const many = cluster.members.length > CARDS_BESIDE;
    const cards = h("section", { class: "cards", key: "cards", "aria-label": "Machines" }, cluster.members.map((each) => card(each, cluster)));
    return [
      h("h1", { class: "headline" }, headline(cluster)),
      waiting(cluster),
      state.newcomers.map(newcomer),
      warnings(cluster),
      h(
        "div",
        { class: "columns" },
        h("div", { class: "main" },
          panel("Nodes", h("span", { class: "muted" }, tolerance(cluster)), topology(cluster, state.running), legend(cluster)),
          running(),
          !many && cards),
        h("div", { class: "side" }, recentTasks(cluster), recentEvents()),
      ),
      many && cards,
    ];
  },
};

function headline(cluster) {
  const here = cluster.members.filter((each) => each.status !== "offline").length;
  const all = cluster.members.length;
  const who = here === all ? count(all, "node") : `${here} of ${count(all, "node")}`;
  if (!cluster.quorum) return `${who} within reach, and no majority`;
  const leader = nodeName(cluster.leader_id);
  const works = state.running.length;
  return [`${who}, `, h("strong", {}, leader), all > 1 ? " in front" : "", works ? `, ${count(works, "subtask")} running` : ", nothing running"];
}

function tolerance(cluster) {
  if (!cluster.quorum) return "";
  return cluster.failures_tolerated ? `survives ${count(cluster.failures_tolerated, "failure")}` : "survives no failure";
}

function waiting(cluster) {
  const asked = state.checkpoints?.length ?? cluster.tasks.checkpoint ?? 0;
  if (!asked) return null;
  return h("a", { class: "banner person", href: "#/checkpoints", key: "waiting" },
    glyph("checkpoint"), h("span", {}, h("strong", {}, `${count(asked, "decision")} for you`), asked === 1 ? " is waited for" : " are waited for"), h("span", { class: "go" }, "Review"));
}

function newcomer(each) {
  const name = each.name || each.node_id.slice(0, 8);
  return h("div", { class: "banner person", key: `new:${each.node_id}` }, glyph("checkpoint"),
    h("span", {}, h("strong", {}, name), ` at ${each.address} asks to join. Let it in only if it shows the code `, h("code", {}, each.code), "."),
    mayAct() && h("button", { type: "button", class: "go", onclick: () => attempt(() => post("newcomers/approve", { newcomer: each.node_id }), `${name} is let in.`) }, "Let it in"));
}

function warnings(cluster) {
  const told = cluster.warnings.filter((each) => !each.startsWith("no quorum") && !each.includes("asks to join"));
  if (!told.length) return null;
  return h("div", { class: "banner warn", key: "warnings" }, glyph("lost"), h("ul", {}, told.slice(0, 6).map((each) => h("li", { key: each }, inOurTime(each)))));
}

function legend(cluster) {
  const learners = cluster.learners.length;
  return h("p", { class: "legend" },
    h("span", {}, icon("crown"), " leader"),
    h("span", {}, h("i", { class: "k-voter" }), " voter"),
    learners ? h("span", {}, h("i", { class: "k-learner" }), " learner") : null,
    h("span", {}, h("i", { class: "k-slot" }), " slot in use"),
    h("span", {}, h("i", { class: "k-away" }), " away"));
}

function running() {
  const shown = state.running.slice(0, RUNNING_SHOWN);
  const more = state.running.length - shown.length;
  return panel("Running now", h("span", { class: "muted" }, state.running.length || ""),
    shown.length
      ? h("ul", { class: "running" }, shown.map((each) =>
          h("li", { key: `${each.subtask_id}#${each.attempt}` },
            h("a", { href: `#/task/${each.task_id}?subtask=${encodeURIComponent(each.name)}` },
              glyph(each.status === "running" ? "in_progress" : each.status),
              h("span", { class: "what" }, h("strong", {}, each.name), h("span", { class: "muted" }, firstLine(each.task, 80))),
              h("span", { class: "tool" }, each.tool),
              h("span", { class: "where" }, nodeName(each.node_id)),
              h("span", { class: "long" }, since(each.started_at ?? each.allocated_at))))))
      : empty("All quiet.", h("p", {}, h("a", { href: "#/submit" }, "Submit a task"), ", and the node with the best score takes it.")),
    more > 0 && h("p", { class: "muted" }, `and ${more} more`));
}

function recentTasks(cluster) {
  const counts = ["in_progress", "checkpoint", "failed", "completed"].filter((status) => cluster.tasks[status]);
  return panel("Tasks", h("a", { href: "#/tasks" }, "All tasks"),
    h("p", { class: "counts" }, counts.map((status) => h("a", { key: status, href: `#/tasks?status=${status}`, class: `s-${status}` }, glyph(status), h("strong", {}, cluster.tasks[status]), ` ${({ in_progress: "under way", checkpoint: "for you" })[status] ?? status}`))),
    tasks?.length
      ? h("ul", { class: "brief" }, tasks.map((task) =>
          h("li", { key: task.task_id },
            h("a", { href: `#/task/${task.task_id}` }, glyph(task.status), h("span", { class: "what" }, firstLine(task.description)), progress(task), h("span", { class: "muted when" }, ago(task.created_at))))))
      : tasks && empty("No task yet."));
}

function recentEvents() {
  const shown = state.events.slice(0, EVENTS_SHOWN);
  return panel("What happened", null,
    shown.length
      ? h("ol", { class: "events" }, shown.map((entry) => {
          const told = news(entry);
          return h("li", { key: entry.log_id },
            h("time", { datetime: entry.timestamp }, clock(entry.timestamp)), glyph(told.status),
            entry.task_id ? h("a", { href: `#/task/${entry.task_id}` }, told.what, entry.subtask_id ? null : h("span", { class: "muted" }, ` ${shortId(entry.task_id)}`)) : h("span", {}, told.what));
        }))
      : empty("Nothing yet."));
}

function card(each, cluster) {
  const away = each.status === "offline";
  const samples = state.samples.get(each.node_id) ?? [];
  return h(
    "article",
    { key: each.node_id, class: `card${away ? " away" : ""}` },
    h("header", {},
      h("h3", {}, h("a", { href: `#/node/${each.node_id}` }, each.name || shortId(each.node_id))),
      each.node_id === cluster.leader_id && h("span", { class: "tag lead" }, icon("crown"), "leader"),
      each.node_id !== cluster.leader_id && h("span", { class: "tag" }, each.role),
      each.draining && h("span", { class: "tag warn" }, "draining"),
      each.node_id === cluster.node_id && h("span", { class: "tag" }, "this node")),
    away
      ? h("p", { class: "gone" }, each.missing_since ? `Away since ${clock(each.missing_since)} (${ago(each.missing_since)})` : "Away")
      : [
          gauge("CPU", "cpu", samples),
          gauge("Memory", "memory", samples),
          gauge("Disk", "disk", samples),
          h("p", { class: "muted small" }, `${each.running} of ${count(each.slots, "slot")} in use · ${bytes(each.resources.disk_free_bytes ?? 0)} free`),
        ],
    tools(each),
  );
}

function tools(each) {
  const known = each.tool_states ?? [];
  if (!known.length) return null;
  const good = known.filter((tool) => tool.healthy);
  const bad = known.length - good.length;
  return h("p", { class: "tools" },
    good.map((tool) => h("span", { key: tool.name, class: "tool good", title: tool.version }, glyph("completed"), tool.name)),
    bad > 0 && h("a", { href: `#/node/${each.node_id}`, class: "muted small", key: "~bad" }, `${bad} not there`));
}
