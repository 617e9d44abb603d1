// Begins here: the way in, the views and their addresses, the keys of all views.

import "./theme.js";
import { mayAct, takeKey } from "./api.js";
import { show } from "./dialog.js";
import { h, render } from "./dom.js";
import { bind, bindView } from "./keys.js";
import { goLive } from "./live.js";
import { glyph } from "./shapes.js";
import { changed, nodeName, keepSamples, onDraw, state } from "./store.js";
import { checkpoint, checkpoints } from "./view_checkpoints.js";
import { node, nodes } from "./view_nodes.js";
import { overview } from "./view_overview.js";
import { settingsView } from "./view_settings.js";
import { submit } from "./view_submit.js";
import { taskView } from "./view_task.js";
import { tasks } from "./view_tasks.js";
import { usageView } from "./view_usage.js";
import { duration } from "./words.js";

const SILENT_MS = 4000;
const VIEWS = { "": overview, tasks, task: taskView, checkpoints, checkpoint, submit, nodes, node, usage: usageView, settings: settingsView };
const SECTION = { task: "tasks", checkpoint: "checkpoints", node: "nodes" };

let view = overview;
let name = "";
let leave = null;
let shownAt = "";

function route() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [wanted, id = ""] = path.split("/").map(decodeURIComponent);
  leave?.();
  bindView({});
  name = wanted in VIEWS ? wanted : "";
  view = VIEWS[name];
  leave = view.enter({ id, query: Object.fromEntries(new URLSearchParams(search)) });
  if (shownAt !== path) {
    window.scrollTo(0, 0);
    // Whoever listens to the page, or goes by keyboard, starts with the new view.
    if (shownAt !== "" || path !== "") requestAnimationFrame(() => document.getElementById("view").focus({ preventScroll: true }));
  }
  shownAt = path;
  changed();
}

function draw() {
  document.title = `${asked() ? `(${asked()}) ` : ""}${view.title()} – Paceline`;
  render(document.getElementById("view"), h("div", { key: name, class: `view view-${name || "overview"}` }, view.draw()));
  render(document.getElementById("state"), stateLine());
  render(document.getElementById("alert"), alertLine());
  document.body.classList.toggle("stale", state.cluster !== null && isSilent());
  markSections();
}

function isSilent() {
  return !state.connected && state.now - state.heardAt > SILENT_MS;
}

function asked() {
  return state.checkpoints?.length ?? state.cluster?.tasks.checkpoint ?? 0;
}

function markSections() {
  const section = SECTION[name] ?? name;
  for (const link of document.querySelectorAll("#sections a")) {
    if (link.dataset.section === section) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const count = document.getElementById("asked");
  count.hidden = !asked();
  count.textContent = String(asked());
}

function stateLine() {
  const { cluster } = state;
  if (!cluster) return "";
  return [
    glyph(state.connected ? "completed" : "lost"),
    h("span", {}, nodeName(cluster.node_id) || "this node", h("small", {}, state.connected ? "live" : "not connected")),
  ];
}

/** What must be known before anything else on the page is believed. */
function alertLine() {
  const { cluster } = state;
  if (cluster && isSilent()) {
    return h("p", { class: "banner bad", key: "silent" }, glyph("lost"), h("span", {}, h("strong", {}, "This node does not answer."), ` What you see is ${duration(state.now - state.heardAt)} old. The page comes back by itself; another node's page still works.`));
  }
  if (cluster && !cluster.quorum) {
    return h("p", { class: "banner bad", key: "quorum" }, glyph("lost"), h("span", {}, h("strong", {}, "No majority."), ` ${lacking(cluster)} Until enough of them are back you can read everything, but nothing can be submitted or decided. Running work goes on for a few seconds and then stops.`));
  }
  if (!mayAct()) {
    return h("p", { class: "banner", key: "reading" }, glyph("allocated"), h("span", {}, "This page may only read. Run ", h("code", {}, "paceline web"), " for a link with which it may also act."));
  }
  return null;
}

function lacking(cluster) {
  const voters = cluster.members.filter((each) => cluster.voters.includes(each.node_id));
  const away = voters.filter((each) => each.status === "offline").map((each) => each.name);
  if (!away.length) return "The voters are choosing a leader.";
  return `${away.join(" and ")} ${away.length === 1 ? "does" : "do"} not answer, and ${Math.floor(cluster.voters.length / 2) + 1} of ${cluster.voters.length} voters are needed.`;
}

function help() {
  const keys = [["/", "search tasks"], ["n", "new task"], ["g o", "overview"], ["g t", "tasks"], ["g d", "decisions"], ["g m", "machines"], ["g u", "usage"], ["g s", "settings"], ["j  k", "next, previous in lists and graphs"], ["Enter", "open"], ["1 – 4", "graph, timeline, log, changes of a task"], ["a  c  r", "accept, correct, reject a decision"], ["?", "this help"]];
  show("Keys", h("dl", { class: "keys" }, keys.map(([key, words]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, words)))));
}

function search() {
  const field = document.getElementById("search");
  if (field) {
    field.focus();
    return;
  }
  location.hash = "#/tasks";
  requestAnimationFrame(() => requestAnimationFrame(() => document.getElementById("search")?.focus()));
}

takeKey();
keepSamples();
bind({
  "/": search,
  "?": help,
  n: () => (location.hash = "#/submit"),
  "g o": () => (location.hash = "#/"),
  "g t": () => (location.hash = "#/tasks"),
  "g d": () => (location.hash = "#/checkpoints"),
  "g m": () => (location.hash = "#/nodes"),
  "g u": () => (location.hash = "#/usage"),
  "g s": () => (location.hash = "#/settings"),
});
onDraw(draw);
window.addEventListener("hashchange", () => {
  takeKey();
  route();
});
document.getElementById("help").onclick = help;
document.querySelector(".skip").onclick = (event) => {
  event.preventDefault(); // the fragment is the view's address
  document.getElementById("view").focus();
};
route();
goLive();
