// A new task: from a template or as a plan of one's own. What it would become is drawn while one
// types, as the node itself reads it, so that what is wrong shows before anything is submitted.

import { get, mayAct, post, Problem } from "./api.js";
import { attempt } from "./dialog.js";
import { h } from "./dom.js";
import { graph } from "./graph.js";
import { panel } from "./parts.js";
import { glyph } from "./shapes.js";
import { changed, nodeName } from "./store.js";
import { count } from "./words.js";

const PAUSE_MS = 200;
const EXAMPLE = `description: Say hello and count
subtasks:
  - name: hello
    tool: command
    run: echo hello
  - name: count
    tool: command
    needs: [hello]
    run: wc -c < "$PACELINE_INPUTS/hello"
`;

const form = { mode: "template", type: "", description: "", plan: EXAMPLE, path: "", ref: "", priority: 50, privacy: "", checkpoint_frequency: "", tools: "" };
let templates = [];
let drawn = null;
let wrong = null;
let places = new Map();
let timer = 0;
let asking = 0;
let key = crypto.randomUUID();
let sending = false;

export const submit = {
  title: () => "New task",
  enter() {
    get("templates").then((answer) => {
      templates = answer.templates;
      form.type ||= templates.find((each) => each.name === "bug_fix")?.name ?? templates[0]?.name ?? "";
      check();
    }, () => {});
    check();
    return () => clearTimeout(timer);
  },
  draw() {
    return [
      h("h1", {}, "New task"),
      h("div", { class: "compose" },
        h("form", { onsubmit: (event) => { event.preventDefault(); send(); } },
          h("div", { class: "chips", role: "group", "aria-label": "Kind" },
            [["template", "From a template"], ["plan", "A plan of my own"]].map(([mode, words]) => h("button", { key: mode, type: "button", "aria-pressed": String(form.mode === mode), onclick: () => set("mode", mode) }, words))),
          form.mode === "template" ? ofTemplate() : ofPlan(),
          options(),
          h("div", { class: "buttons" }, !mayAct() && h("span", { class: "muted" }, "This page may only read."), h("button", { type: "submit", class: "primary", disabled: !drawn || sending || !mayAct() }, sending ? "Submitting …" : "Submit"))),
        panel("What it becomes", drawn && h("span", { class: "muted" }, `${count(drawn.subtasks.length, "subtask")} in ${count(drawn.layers.length, "step")}`), preview())),
    ];
  },
};

function set(name, value) {
  form[name] = value;
  key = crypto.randomUUID();
  clearTimeout(timer);
  timer = setTimeout(check, PAUSE_MS);
  changed();
}

function body() {
  const plan = form.mode === "plan";
  return {
    ...(plan ? { plan: form.plan, format: /^\s*\[?\[?\w+\]?\]?\s*(=|$)/m.test(form.plan) && !/^\s*\w+:/m.test(form.plan) ? "toml" : "yaml" } : { description: form.description, type: form.type }),
    ...(form.path && { repository: { path: form.path, ref: form.ref || "HEAD" } }),
    ...(form.privacy && { privacy: form.privacy }),
    ...(form.checkpoint_frequency && { checkpoint_frequency: form.checkpoint_frequency }),
    ...(form.tools.trim() && { tool_preferences: form.tools.split(/[\s,]+/).filter(Boolean) }),
    ...(Number(form.priority) !== 50 && { priority: Number(form.priority) }),
  };
}

/** Asks the node what it would become. Only the answer to the newest question counts. */
async function check() {
  const number = ++asking;
  const wanted = body();
  const unsaid = form.mode === "template" && !form.description.trim();
  if (unsaid) wanted.description = "…";
  try {
    const [answer, placed] = await Promise.all([post("tasks/check", wanted), post("tasks?dry_run=true", wanted)]);
    if (number !== asking) return;
    places = new Map(placed.subtasks.map((each) => [each.name, each]));
    [drawn, wrong] = [answer, null];
  } catch (problem) {
    if (number !== asking) return;
    if (problem.status !== 422) drawn = null;
    wrong = problem instanceof Problem ? problem : new Problem(0, { detail: "the node does not answer" });
    drawn = null;
  }
  if (unsaid && drawn) wrong = null;
  changed();
}

async function send() {
  if (sending || !drawn) return;
  if (form.mode === "template" && !form.description.trim()) {
    document.getElementById("description")?.focus();
    return;
  }
  sending = true;
  changed();
  await attempt(async () => {
    const answer = await post("tasks", { ...body(), idempotency_key: key });
    key = crypto.randomUUID();
    form.description = "";
    location.hash = `#/task/${answer.task_id}`;
  }, "Submitted: a majority of the nodes has it.");
  sending = false;
  changed();
}

function ofTemplate() {
  return [
    h("fieldset", { class: "templates", key: "templates" }, h("legend", {}, "Template"),
      templates.map((each) => h("label", { key: each.name, class: form.type === each.name ? "chosen" : "" },
        h("input", { type: "radio", name: "type", checked: form.type === each.name, onchange: () => set("type", each.name) }),
        h("span", {}, h("strong", {}, each.name.replaceAll("_", " ")), h("span", { class: "muted" }, each.description))))),
    h("label", { class: "field", key: "description" }, "What is to be done",
      h("textarea", { id: "description", rows: 5, required: true, value: form.description, placeholder: "The login form loses what was typed when the token is wrong …", oninput: (event) => set("description", event.target.value) })),
  ];
}

function ofPlan() {
  const lines = form.plan.split("\n").length;
  const bad = wrongLines();
  return h("div", { class: "field", key: "plan" }, h("label", { for: "plan" }, "Plan (YAML or TOML)"),
    h("div", { class: "editor" },
      h("div", { class: "gutter", "aria-hidden": "true" }, Array.from({ length: lines }, (_, at) => h("span", { class: bad.has(at + 1) ? "bad" : "" }, at + 1))),
      h("textarea", { id: "plan", spellcheck: "false", wrap: "off", rows: Math.min(32, Math.max(14, lines + 1)), value: form.plan, "aria-invalid": String(bad.size > 0), "aria-describedby": "wrong", oninput: (event) => set("plan", event.target.value), onscroll: (event) => { event.target.previousElementSibling.scrollTop = event.target.scrollTop; } })));
}

/** The node tells the first mistake's line by itself and the others' in words: `line 7: ...`. */
function wrongLines() {
  if (!wrong) return new Set();
  const others = [...wrong.message.matchAll(/^line (\d+):/gm)].map((match) => Number(match[1]));
  return new Set([wrong.line, ...others].filter(Boolean));
}

function preview() {
  if (wrong) {
    const [first, ...rest] = wrong.message.split("\n");
    const all = [wrong.line ? `line ${wrong.line}: ${first}` : first, ...rest];
    return h("ul", { id: "wrong", class: "wrong", role: "status" }, all.map((line, at) => h("li", { key: at }, glyph("failed"), h("span", {}, line))));
  }
  if (!drawn) return h("p", { class: "muted", id: "wrong" }, "Reading …");
  return [
    graph(drawn.subtasks.map((each) => ({ name: each.name, needs: each.dependencies, tool: each.tool })), { label: "Graph of the new task" }),
    h("ol", { class: "steps" }, drawn.subtasks.slice(0, 60).map((each) => h("li", { key: each.name }, h("strong", {}, each.name), goesTo(each.name), each.checkpoint && h("span", { class: "tag" }, "asks you"), each.review && h("span", { class: "tag" }, "reviewed")))),
    obstacles(),
  ];
}

/** Where it would go if it were ready now, or why nobody could take it. */
function goesTo(name) {
  const place = places.get(name);
  if (!place) return null;
  if (!place.node_id) return h("span", { class: "nobody" }, glyph("lost"), " nobody can take it now");
  return h("span", {}, ` → ${nodeName(place.node_id)} with ${place.tool}`);
}

/** Why nobody could take some of them, each reason once. */
function obstacles() {
  const held = [...places.values()].filter((each) => !each.node_id);
  if (!held.length) return null;
  const reasons = [...new Set(held.map((each) => each.reason))];
  return h("details", { class: "obstacles" }, h("summary", {}, `Why nobody can take ${held.length === places.size ? "them" : "some of them"} now`),
    h("p", {}, "It can be submitted all the same, and waits until a node can."),
    h("ul", {}, reasons.slice(0, 5).map((reason) => h("li", { key: reason }, reason.split("; ").map((part) => h("span", { key: part }, part))))));
}

function choice(label, name, entries) {
  return h("label", { class: "field" }, label, h("select", { value: form[name], onchange: (event) => set(name, event.target.value) }, entries.map(([value, words]) => h("option", { key: value, value }, words))));
}

function entry(label, name, placeholder = "", type = "text") {
  return h("label", { class: "field" }, label, h("input", { type, value: form[name], placeholder, autocomplete: "off", spellcheck: "false", min: type === "number" ? 0 : null, max: type === "number" ? 100 : null, oninput: (event) => set(name, event.target.value) }));
}

function options() {
  return h("details", { class: "options", key: "options" }, h("summary", {}, "Repository, privacy, tools and more"),
    h("div", { class: "grid" },
      entry("Repository (a path on this machine)", "path", "/home/me/project"),
      entry("Branch, tag or commit", "ref", "HEAD"),
      choice("Privacy", "privacy", [["", "as the plan says"], ["normal", "normal"], ["sensitive", "sensitive: trusted nodes only"]]),
      choice("Ask me", "checkpoint_frequency", [["", "as the plan says"], ["low", "at the end"], ["medium", "after the major steps"], ["high", "after each step"]]),
      entry("Tools, the best first", "tools", "claude_code, ollama"),
      entry("Priority, 0 to 100", "priority", "", "number")));
}
