// The machines: all of them, and one with everything about it.

import { mayAct, post } from "./api.js";
import { gauge } from "./curves.js";
import { ask, attempt } from "./dialog.js";
import { h } from "./dom.js";
import { command, copyable, empty, facts, loading, panel } from "./parts.js";
import { glyph, icon } from "./shapes.js";
import { member, nodeName, state } from "./store.js";
import { ago, bytes, count, duration, firstLine, moment, since } from "./words.js";

export const nodes = {
  title: () => "Nodes",
  enter: () => null,
  draw() {
    const { cluster } = state;
    if (!cluster) return loading();
    return [
      h("h1", {}, "Nodes"),
      h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Nodes" },
        h("table", { class: "table" },
          h("thead", {}, h("tr", {}, ["Name", "Role", "Status", "In use", "CPU", "Memory", "Disk free", "Version"].map((each) => h("th", { scope: "col" }, each)))),
          h("tbody", {}, cluster.members.map((each) => row(each, cluster))))),
      panel("Add a machine", null, h("p", {}, "On a machine that has the token, this shows the command for the next one:"), command("paceline token show")),
    ];
  },
};

function row(each, cluster) {
  const away = each.status === "offline";
  const { cpu_percent: cpu, memory_percent: memory, disk_free_bytes: free } = each.resources;
  return h("tr", { key: each.node_id },
    h("td", {}, h("a", { href: `#/node/${each.node_id}` }, each.name || each.node_id.slice(0, 8)), each.node_id === cluster.node_id && h("span", { class: "tag" }, "this node")),
    h("td", {}, each.role === "leader" ? h("span", { class: "tag lead" }, icon("crown"), "leader") : each.role),
    h("td", {}, glyph(away ? "failed" : each.draining ? "paused" : "completed"), " ", away ? "away" : each.draining ? "draining" : each.status),
    h("td", {}, `${each.running} of ${each.slots}`),
    h("td", {}, cpu === undefined ? "–" : `${Math.round(cpu)} %`),
    h("td", {}, memory === undefined ? "–" : `${Math.round(memory)} %`),
    h("td", {}, free === undefined ? "–" : bytes(free)),
    h("td", {}, each.version));
}

let shownId = "";

export const node = {
  title: () => nodeName(shownId) || "Node",
  enter({ id }) {
    shownId = id;
    return null;
  },
  draw() {
    const { cluster } = state;
    if (!cluster) return loading();
    const each = member(shownId);
    if (!each) return empty("There is no such node.", h("p", {}, "It may have left. ", h("a", { href: "#/nodes" }, "All nodes")));
    const own = each.node_id === cluster.node_id;
    const away = each.status === "offline";
    const samples = state.samples.get(each.node_id) ?? [];
    const works = state.running.filter((one) => one.node_id === each.node_id);
    return [
      h("div", { class: "titled" }, h("h1", {}, each.name, each.role === "leader" && h("span", { class: "tag lead" }, icon("crown"), "leader"), own && h("span", { class: "tag" }, "this node")), h("div", { class: "acts" }, mayAct() && actions(each, own))),
      each.missing_since && h("p", { class: "banner warn" }, glyph("lost"), h("span", {}, `Away since ${moment(each.missing_since)}. What it ran goes to others.`)),
      h("div", { class: "columns" },
        h("div", { class: "main" },
          panel("Now", h("span", { class: "muted" }, `${each.running} of ${count(each.slots, "slot")} in use`),
            !away && h("div", { class: "gauges" }, gauge("CPU", "cpu", samples), gauge("Memory", "memory", samples), gauge("Disk", "disk", samples)),
            works.length ? h("ul", { class: "running" }, works.map((one) => h("li", { key: one.subtask_id }, h("a", { href: `#/task/${one.task_id}?subtask=${encodeURIComponent(one.name)}` }, glyph("in_progress"), h("span", { class: "what" }, h("strong", {}, one.name), h("span", { class: "muted" }, firstLine(one.task, 80))), h("span", { class: "tool" }, one.tool), h("span", { class: "long" }, since(one.started_at ?? one.allocated_at)))))) : h("p", { class: "muted" }, "Nothing runs here.")),
          panel("Tools", null, toolList(each))),
        h("div", { class: "side" }, panel("About", null, about(each, own)))),
    ];
  },
};

function about(each, own) {
  const { resources } = each;
  return facts([
    ["Node", copyable(each.node_id, each.node_id.slice(0, 12))],
    ["Role", each.role === "learner" ? "learner (keeps all, does not vote)" : each.role],
    ["Address", each.address],
    ["Heard from", own ? "" : each.silent_ms === null ? "not since this node started" : each.silent_ms < 1500 ? "just now" : `${duration(each.silent_ms)} ago`],
    ["Version", each.version],
    ["Trusted", each.trusted ? "yes: runs sensitive work" : "no: never sees sensitive work"],
    ["Labels", Object.entries(each.labels ?? {}).map(([name, value]) => `${name}=${value}`).join(", ")],
    ["Processors", resources.cpu_count],
    ["Memory", resources.memory_bytes ? bytes(resources.memory_bytes) : ""],
    ["Disk free", resources.disk_free_bytes ? bytes(resources.disk_free_bytes) : ""],
    ["Away since", each.missing_since && `${moment(each.missing_since)} (${ago(each.missing_since)})`],
    ["Trust", h("code", {}, `paceline ${each.trusted ? "untrust" : "trust"} ${each.name}`)],
  ]);
}

function toolList(each) {
  const tools = [...(each.tool_states ?? [])].sort((a, b) => Number(b.healthy) - Number(a.healthy));
  if (!tools.length) return h("p", { class: "muted" }, "None has been reported.");
  return h("ul", { class: "toollist" }, tools.map((tool) => h("li", { key: tool.name }, glyph(tool.healthy ? "completed" : "cancelled"), h("strong", {}, tool.name), h("span", { class: "muted" }, tool.healthy ? tool.version : firstLine(tool.reason, 200)))));
}

function actions(each, own) {
  return [
    h("button", { key: "drain", type: "button", onclick: () => drain(each) }, each.draining ? "Take work again" : "Drain"),
    own
      ? h("button", { key: "leave", type: "button", class: "danger", onclick: () => leave(each) }, "Leave the cluster")
      : h("button", { key: "revoke", type: "button", class: "danger", onclick: () => revoke(each) }, "Revoke"),
  ];
}

function drain(each) {
  const on = !each.draining;
  return attempt(() => post(`nodes/${each.node_id}/drain`, { on }), on ? `${each.name} finishes what it has and gets nothing new.` : `${each.name} takes work again.`);
}

async function leave(each) {
  const typed = await ask({ title: "Take this node out of the cluster?", text: "It finishes or hands over what it runs, and then ends. This page ends with it. To come back it must be started with the token.", action: "Leave", danger: true, mustType: each.name });
  if (typed !== null) await attempt(() => post("node/leave", { timeout_s: 60 }), "This node has left and ends now.");
}

async function revoke(each) {
  const typed = await ask({ title: `Throw ${each.name} out for good?`, text: "It is cut off at once, what it runs goes to others, and the token of the cluster changes. It can never come back under this key.", action: "Revoke", danger: true, mustType: each.name });
  if (typed !== null) await attempt(() => post(`nodes/${each.node_id}/revoke`, { reason: "from the page" }), `${each.name} is out, and the token is another.`);
}
