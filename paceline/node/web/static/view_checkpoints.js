// What waits for a person: the list, and one decision with everything that it needs.

import { get, getOrNull, mayAct, post, text } from "./api.js";
import { attempt } from "./dialog.js";
import { diff } from "./diff.js";
import { h } from "./dom.js";
import { bindView } from "./keys.js";
import { empty, facts, failure, loading, panel } from "./parts.js";
import { badge, glyph } from "./shapes.js";
import { changed, gently, onActivity, state } from "./store.js";
import { scores } from "./subtask.js";
import { ago, firstLine, moment, shortId } from "./words.js";

let all = null;
let place = 0;

const readAll = gently(async () => {
  all = (await getOrNull("checkpoints"))?.checkpoints ?? null;
  changed();
}, 200);

export const checkpoints = {
  title: () => "Decisions",
  enter() {
    readAll();
    bindView({ j: () => step(1), k: () => step(-1) });
    return onActivity(readAll);
  },
  draw() {
    const pending = (all ?? []).filter((each) => each.status === "pending");
    const decided = (all ?? []).filter((each) => each.status !== "pending").slice(0, 50);
    return [
      h("h1", {}, "Decisions"),
      pending.length
        ? h("ul", { class: "decisions" }, pending.map((each) => h("li", { key: each.checkpoint_id }, h("a", { href: `#/checkpoint/${each.checkpoint_id}` },
            glyph("checkpoint"), h("span", { class: "what" }, h("strong", {}, each.subtask_name || "The whole task"), h("span", {}, reasonOf(each)), h("span", { class: "muted" }, `task ${shortId(each.task_id)} · ${ago(each.created_at)}`)),
            typeof each.score === "number" && h("span", { class: `mark${each.score < 7 ? " low" : ""}` }, each.score.toFixed(1))))))
        : empty("Nothing waits for you.", h("p", {}, "Work stops here when its score is low, when reviewers disagree, or as often as the task asks for it.")),
      decided.length > 0 && panel("Decided", null, h("ul", { class: "brief" }, decided.map((each) => h("li", { key: each.checkpoint_id }, h("a", { href: `#/checkpoint/${each.checkpoint_id}` }, glyph(each.status), h("span", { class: "what" }, each.subtask_name || "The whole task", h("span", { class: "muted" }, ` ${each.decision ?? each.status}`)), h("span", { class: "muted when" }, ago(each.created_at))))))),
    ];
  },
};

function step(by) {
  const links = [...document.querySelectorAll(".decisions a, .brief a")];
  place = Math.min(links.length - 1, Math.max(0, links.indexOf(document.activeElement) + by));
  links[place]?.focus();
}

function reasonOf(each) {
  return firstLine(each.reason || String(each.type).replaceAll("_", " "));
}

// --- one ------------------------------------------------------------------------------------------

let id = "";
let shown = null;
let task = null;
let patch = null;
let problem = null;
let feedback = "";
let comments = new Map();

const read = gently(async () => {
  const wanted = id;
  try {
    const found = await get(`checkpoints/${wanted}`);
    if (wanted !== id) return;
    shown = found;
    task ??= await getOrNull(`tasks/${found.task_id}`);
    patch ??= await text(`tasks/${found.task_id}/result/patch`, { subtask: found.subtask_name ?? "" }).catch(() => "");
  } catch (failed) {
    problem = failed;
  }
  changed();
});

export const checkpoint = {
  title: () => "Decision",
  enter({ id: wanted }) {
    if (wanted !== id) {
      [id, shown, task, patch, problem, feedback, comments] = [wanted, null, null, null, null, "", new Map()];
    }
    read();
    bindView({ a: () => open() && decide("accept"), c: () => open() && document.getElementById("feedback")?.focus(), r: () => open() && decide("reject") });
    return onActivity(read);
  },
  draw() {
    if (problem && !shown) return failure(problem);
    if (!shown) return loading();
    const subtask = task?.subtasks.find((each) => each.subtask_id === shown.subtask_id);
    return [
      h("header", { class: "taskhead" },
        h("h1", {}, shown.subtask_name || "The whole task"),
        h("p", { class: "lead" }, reasonOf(shown)),
        facts([["Status", badge(open() ? "checkpoint" : shown.status)], ["Task", h("a", { href: `#/task/${shown.task_id}?subtask=${encodeURIComponent(shown.subtask_name ?? "")}` }, firstLine(task?.description ?? shortId(shown.task_id), 80))], ["Asked", h("time", { datetime: shown.created_at, title: moment(shown.created_at) }, ago(shown.created_at))], ["Kind", String(shown.type).replaceAll("_", " ")], ["Decision", shown.decision]])),
      h("div", { class: "review" },
        h("div", { class: "changes" }, patch === null ? loading() : patch ? diff(patch, open() ? commenting : null) : words(subtask)),
        h("aside", { class: "detail" }, scores(shown.evaluation ?? subtask?.evaluation), findings(), history())),
      open() && mayAct() && decision(),
    ];
  },
};

function open() {
  return shown?.status === "pending";
}

function words(subtask) {
  const said = subtask?.result?.text || subtask?.result?.output?.text;
  return said ? h("pre", { tabindex: 0, "aria-label": "What the agent said" }, said) : empty("No change of files.", h("p", {}, "The subtask handed on no patch."));
}

function findings() {
  const found = shown.findings ?? shown.issues ?? [];
  if (!found.length) return null;
  return h("section", {}, h("h3", {}, "Findings"), h("ul", { class: "findings" }, found.slice(0, 100).map((each, at) =>
    h("li", { key: at, class: each.severity ?? "" }, h("strong", {}, each.severity ?? "note"), " ", each.message ?? each.text ?? String(each), each.file && h("code", {}, ` ${each.file}${each.line ? `:${each.line}` : ""}`)))));
}

function history() {
  const said = shown.history ?? shown.reviews ?? shown.corrections ?? [];
  if (!said.length) return null;
  return h("section", {}, h("h3", {}, "Review so far"), h("ol", { class: "history" }, said.map((each, at) =>
    h("li", { key: at }, h("p", {}, h("strong", {}, each.reviewer ?? each.by ?? each.kind ?? each.verdict ?? "correction"), h("span", { class: "muted" }, each.created_at ? ` ${ago(each.created_at)}` : "")), h("p", {}, each.feedback ?? each.text ?? each.summary ?? "")))));
}

const keyOf = (file, line, kind) => `${kind === "del" ? "-" : "+"}${line}:${file}`;

const commenting = {
  of: (file, line, kind) => comments.get(keyOf(file, line, kind))?.text,
  onopen(file, line, kind) {
    const key = keyOf(file, line, kind);
    if (!comments.has(key)) comments.set(key, { file, line, text: "" });
    changed();
  },
  onwrite(file, line, kind, value) {
    comments.set(keyOf(file, line, kind), { file, line, text: value });
    changed();
  },
  ondrop(file, line, kind) {
    comments.delete(keyOf(file, line, kind));
    changed();
  },
};

function decision() {
  const written = [...comments.values()].filter((each) => each.text.trim());
  return h("section", { class: "decision", "aria-label": "Your decision" },
    h("label", { class: "field" }, h("span", {}, "What should be different", written.length ? h("span", { class: "muted" }, ` (and ${written.length} on lines)`) : null),
      h("textarea", { id: "feedback", rows: 2, value: feedback, oninput: (event) => { feedback = event.target.value; changed(); } })),
    h("div", { class: "buttons" },
      h("button", { type: "button", class: "danger", onclick: () => decide("reject") }, "Reject", h("kbd", {}, "r")),
      h("button", { type: "button", disabled: !feedback.trim() && !written.length, onclick: () => decide("correct") }, "Ask for correction"),
      h("button", { type: "button", class: "primary", onclick: () => decide("accept") }, "Accept", h("kbd", {}, "a"))));
}

const DONE = { accept: "Accepted: the work goes on.", correct: "Sent back with your words.", reject: "Rejected: it is tried anew." };

async function decide(what) {
  const written = [...comments.values()].filter((each) => each.text.trim());
  const body = { decision: what, feedback: feedback.trim(), comments: written };
  if (await attempt(() => post(`checkpoints/${id}/resolve`, body), DONE[what])) {
    const next = state.checkpoints?.find((each) => each.checkpoint_id !== id);
    location.hash = next ? `#/checkpoint/${next.checkpoint_id}` : "#/checkpoints";
  }
}
