// What ran where and when: one line per subtask, one bar per attempt, thin lines where it waited.

import { h } from "./dom.js";
import { glyph, statusClass } from "./shapes.js";
import { nodeName, state } from "./store.js";
import { duration, statusWord, time } from "./words.js";

const LINES_MAX = 400;

export function timeline(task, { chosen, onchoose }) {
  const began = time(task.created_at);
  const ended = time(task.completed_at) ?? Math.max(state.now, began + 1000);
  const span = Math.max(1, ended - began);
  const share = (ms) => `${Math.min(100, Math.max(0, ((ms - began) / span) * 100)).toFixed(3)}%`;
  const shown = task.subtasks.slice(0, LINES_MAX);
  return h(
    "div",
    { class: "timeline" },
    scale(span),
    shown.map((subtask) => line(subtask, { share, ended, began, chosen, onchoose })),
    task.subtasks.length > LINES_MAX &&
      h("p", { class: "muted" }, `The first ${LINES_MAX} of ${task.subtasks.length} subtasks are shown.`),
  );
}

function scale(span) {
  const marks = [0, 0.25, 0.5, 0.75, 1];
  return h(
    "div",
    { class: "scale", "aria-hidden": "true" },
    h("span", {}),
    h("div", { class: "track" }, marks.map((each) =>
      h("span", { class: each === 1 ? "end" : "", style: { left: `${each * 100}%` } }, each ? duration(span * each) : "0"),
    )),
  );
}

function line(subtask, view) {
  const first = subtask.attempts[0];
  const waitEnd = first ? time(first.allocated_at) : time(subtask.completed_at) ?? view.ended;
  return h(
    "div",
    { key: subtask.subtask_id, class: `line${view.chosen === subtask.name ? " chosen" : ""}` },
    h(
      "button",
      { class: "who", type: "button", onclick: () => view.onchoose(subtask.name) },
      glyph(subtask.status),
      h("span", {}, subtask.name),
    ),
    h(
      "div",
      { class: "track" },
      waitEnd > view.began && wait(view, view.began, waitEnd, subtask),
      subtask.attempts.map((attempt, at) => [gap(subtask, at, view), bar(attempt, view)]),
    ),
  );
}

function wait(view, from, to, subtask) {
  const title = `${subtask.name} waited ${duration(to - from)}`;
  return h("span", { class: "wait", title, style: { left: view.share(from), right: rest(view, to) } });
}

/** The pause before a further attempt: a retry, or a failover. */
function gap(subtask, at, view) {
  if (at === 0) return null;
  const from = time(subtask.attempts[at - 1].finished_at);
  const to = time(subtask.attempts[at].allocated_at);
  return from && to > from ? wait(view, from, to, subtask) : null;
}

function bar(attempt, view) {
  const from = time(attempt.allocated_at) ?? view.began;
  const to = time(attempt.finished_at) ?? view.ended;
  const where = nodeName(attempt.node_id);
  const words = `Attempt ${attempt.attempt} on ${where} with ${attempt.tool}: ${statusWord(attempt.status)}, ${duration(to - from)}`;
  return h(
    "span",
    { class: `bar ${statusClass(attempt.status)}`, title: words, style: { left: view.share(from), right: rest(view, to) } },
    h("span", { class: "inside" }, glyph(attempt.status), h("span", {}, where)),
    h("span", { class: "hidden" }, words),
  );
}

function rest(view, to) {
  return `calc(100% - ${view.share(to)})`;
}
