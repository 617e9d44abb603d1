// What waits for a person: the list, and one decision with everything that it needs.

import { get, getOrNull, mayAct, post, text } from "./api.js";
import { attempt } from "./dialog.js";
import { diff } from "./diff.js";
import { h } from "./dom.js";
import { bindView } from "./keys.js";
import { empty, facts, failure, loading, panel } from "./parts.js";
import { badge, glyph } from "./shapes.js";
import { changed, gently, nodeName, onActivity, state } from "./store.js";
import { scores } from "./subtask.js";
import { ago, firstLine, moment, money, shortId } from "./words.js";

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
    const over = (all ?? []).filter((each) => each.status !== "pending").reverse().slice(0, 50);
    return [
      h("h1", {}, "Decisions"),
      pending.length
        ? h("ul", { class: "decisions" }, pending.map((each) => h("li", { key: each.checkpoint_id }, h("a", { href: `#/checkpoint/${each.checkpoint_id}` },
            glyph("checkpoint"), h("span", { class: "what" }, h("strong", {}, each.subtask_name || "The whole task"), h("span", {}, reasonOf(each)), h("span", { class: "muted" }, `task ${shortId(each.task_id)} · ${ago(each.created_at)}`)),
            typeof each.score === "number" && h("span", { class: `mark${each.score < 7 ? " low" : ""}` }, each.score.toFixed(1))))))
        : empty("Nothing waits for you.", h("p", {}, "Work stops here when its score is low, when reviewers disagree, or as often as the task asks for it.")),
      over.length > 0 && panel("Decided", null, h("ul", { class: "brief" }, over.map((each) => h("li", { key: each.checkpoint_id }, h("a", { href: `#/checkpoint/${each.checkpoint_id}` }, glyph(outcome(each)), h("span", { class: "what" }, each.subtask_name || "The whole task", h("span", { class: "muted" }, ` ${decided(each)}`)), h("span", { class: "muted when" }, ago(each.created_at))))))),
    ];
  },
};

const OUTCOME = { accept: "completed", correct: "review", reject: "failed" };
const DECIDED = { accept: "accepted", correct: "sent back for correction", reject: "rejected" };

function outcome(each) {
  return each.status === "pending" ? "checkpoint" : OUTCOME[each.decision] ?? "cancelled";
}

function decided(each) {
  return DECIDED[each.decision] ?? (each.status === "skipped" ? "not needed any more" : each.status);
}

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
    patch ??= await changeOf(found);
  } catch (failed) {
    problem = failed;
  }
  changed();
});

/** The whole patch where it can be had, or else the beginning that the evaluation kept. */
async function changeOf(found) {
  try {
    return await text(`tasks/${found.task_id}/result/patch`, { subtask: found.subtask_name ?? "" });
  } catch {
    return found.evaluation?.details?.diff ?? "";
  }
}

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
        facts([["Status", badge(outcome(shown), open() ? "waits for you" : decided(shown))], ["Task", h("a", { href: `#/task/${shown.task_id}?subtask=${encodeURIComponent(shown.subtask_name ?? "")}` }, firstLine(task?.description ?? shortId(shown.task_id), 80))], ["Asked", h("time", { datetime: shown.created_at, title: moment(shown.created_at) }, ago(shown.created_at))], ["Kind", String(shown.type).replaceAll("_", " ")], ["Expires", shown.expires_at && moment(shown.expires_at)], ["Cost so far", money(shown.cost_usd)], ["Said", shown.feedback]])),
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
  const said = shown.attempt?.text || subtask?.result?.text || subtask?.result?.output?.text;
  return said ? h("pre", { tabindex: 0, "aria-label": "What the agent said" }, said) : empty("No change of files.", h("p", {}, "The subtask handed on no patch."));
}

function findings() {
  const doubts = shown.evaluation?.details?.doubts ?? [];
  return [
    doubts.length > 0 && h("ul", { class: "findings", key: "doubts" }, doubts.map((each) => h("li", { key: each }, each))),
    listed("Findings", shown.evaluation?.findings ?? []),
  ];
}

function listed(title, found) {
  if (!found.length) return null;
  return h("section", { key: title }, title && h("h3", {}, title), h("ul", { class: "findings" }, found.slice(0, 100).map((each, at) =>
    h("li", { key: at }, h("strong", { class: `severity ${each.severity}` }, each.severity || "note"), " ", each.message, each.file && h("code", {}, ` ${each.file}${each.line ? `:${each.line}` : ""}`)))));
}

const VERDICT = { approve: "approves", revise: "asks for changes", none: "gave no usable answer", "": "is looking" };

function history() {
  const reviews = shown.reviews ?? [];
  const corrections = shown.corrections ?? [];
  if (!reviews.length && !corrections.length) return null;
  return h("section", {}, h("h3", {}, "Review so far"), h("ol", { class: "history" },
    reviews.map((each) => h("li", { key: `r${each.attempt}` }, h("p", {}, glyph(each.verdict === "approve" ? "completed" : each.verdict === "revise" ? "failed" : "review"), " ", h("strong", {}, `${each.tool} on ${nodeName(each.node_id)}`), ` ${VERDICT[each.verdict] ?? each.verdict}`), each.summary && h("p", {}, each.summary), listed("", each.findings ?? []))),
    corrections.map((each) => h("li", { key: each.correction_id }, h("p", {}, h("strong", {}, "A person"), ` ${ago(each.created_at)}`), h("p", {}, each.feedback)))));
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
