// One subtask in detail: why it is where it is, each attempt, its scores and its result.

import { mayAct, post } from "./api.js";
import { attempt as tryTo } from "./dialog.js";
import { h } from "./dom.js";
import { facts } from "./parts.js";
import { badge, glyph, icon } from "./shapes.js";
import { nodeName } from "./store.js";
import { bytes, clock, count, duration, moment, money, statusWord, time } from "./words.js";

export function detail(task, subtask, reason, { onclose, onlog }) {
  return h("aside", { class: "detail", key: subtask.subtask_id, "aria-label": `Subtask ${subtask.name}` },
    h("header", {}, h("h2", {}, subtask.name), h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: onclose }, icon("close"))),
    h("p", {}, badge(subtask.status)),
    why(subtask, reason),
    subtask.description && h("p", { class: "words" }, subtask.description),
    facts([
      ["Needs", subtask.dependencies.join(", ")],
      ["Tool", subtask.tool],
      ["Node", nodeName(subtask.node_id)],
      ["Tries", tries(subtask)],
    ]),
    h("p", { class: "acts" },
      h("button", { type: "button", onclick: onlog }, "Its log"),
      subtask.status === "failed" && mayAct() && h("button", { type: "button", onclick: () => tryTo(() => post(`tasks/${task.task_id}/retry`, { subtask_id: subtask.subtask_id }), "It is tried again.") }, "Try again")),
    scores(subtask.evaluation),
    result(subtask.result),
    subtask.attempts.length > 0 && h("h3", {}, "Attempts"),
    h("ol", { class: "attempts" }, subtask.attempts.toReversed().map(one)));
}

function tries(subtask) {
  const reviews = subtask.attempts.filter((each) => each.kind === "review").length;
  const works = subtask.attempts.length - reviews;
  return `${works}${reviews ? `, and ${count(reviews, "review")}` : ""}`;
}

function why(subtask, reason) {
  const sentence = subtask.reason || (subtask.status === "pending" ? reason?.reason : "");
  if (!sentence) return null;
  const verdicts = subtask.status === "pending" ? reason?.nodes ?? [] : [];
  return h("div", { class: "why" }, h("p", {}, sentence),
    verdicts.length > 0 && h("ul", {}, verdicts.map((each) => h("li", { key: each.node_id },
      glyph(each.eligible ? "completed" : "cancelled"), h("strong", {}, each.name || nodeName(each.node_id)), " ", each.eligible ? `score ${Number(each.score).toFixed(1)} with ${each.tool}` : each.reason))));
}

/** Points of each evaluator, on a scale of ten; what is below seven asks for a person. */
export function scores(evaluation) {
  if (!evaluation) return null;
  const score = evaluation.score === undefined ? evaluation.overall_score : evaluation.score;
  const entries = Object.entries(evaluation.dimension_scores ?? {}).filter(([, value]) => typeof value === "number");
  return h("section", { class: "scores" },
    h("h3", {}, "Score ", typeof score === "number" ? [h("strong", { class: score < 7 ? "low" : "" }, score.toFixed(1)), h("span", { class: "muted" }, " of 10")] : h("span", { class: "muted" }, "nobody could judge")),
    entries.map(([name, value]) => h("div", { key: name, class: `score${value < 7 ? " low" : ""}` },
      h("span", { class: "label" }, name.replaceAll("_", " ")),
      h("span", { class: "scale", "aria-hidden": "true" }, h("span", { style: { width: `${value * 10}%` } })),
      h("span", { class: "number" }, value.toFixed(1)))));
}

function result(found) {
  if (!found) return null;
  const output = found.output;
  const text = found.text || output?.text || "";
  return h("section", { class: "result" }, h("h3", {}, "Result"),
    text && h("pre", { tabindex: 0, "aria-label": "Result" }, text.slice(0, 16_384)),
    output?.size > 0 && h("p", { class: "muted small" }, `${bytes(output.size)} handed on${output.sha256 ? `, kept on ${output.holders.map(nodeName).join(" and ")}` : ""}`));
}

function one(each) {
  const lasted = each.started_at && (time(each.finished_at) ?? Date.now()) - time(each.started_at);
  const tokens = Object.entries(each.usage ?? {}).map(([name, value]) => `${Number(value).toLocaleString("en")} ${name.replaceAll("_", " ")}`);
  return h("li", { key: each.attempt },
    h("p", {}, glyph(each.status), h("strong", {}, `${each.attempt}.`), ` ${each.kind === "review" ? "review: " : ""}${statusWord(each.status)} on ${nodeName(each.node_id)} with ${each.tool}`),
    h("p", { class: "muted small" }, [each.started_at && h("time", { datetime: each.started_at, title: moment(each.started_at) }, clock(each.started_at)), lasted !== null && lasted !== "" && lasted !== undefined ? ` · ${duration(lasted)}` : "", each.exit_code !== null ? ` · exit ${each.exit_code}` : "", each.cost_usd !== null ? ` · ${money(each.cost_usd)}` : ""]),
    tokens.length > 0 && h("p", { class: "muted small" }, tokens.join(" · ")),
    each.reason && h("p", { class: "reason" }, each.reason),
    each.review?.summary && h("p", { class: "reason" }, each.review.summary),
    each.status !== "succeeded" && each.log_tail && h("details", {}, h("summary", {}, "How its log ended"), h("pre", { tabindex: 0 }, each.log_tail)));
}
