// How things are said: times, amounts, statuses, and what happened.

import { nodeName, state } from "./store.js";

const STATUS = {
  pending: "waiting",
  initializing: "starting",
  allocated: "given out",
  in_progress: "running",
  running: "running",
  checkpoint: "needs you",
  review: "in review",
  completed: "completed",
  succeeded: "succeeded",
  failed: "failed",
  cancelled: "cancelled",
  lost: "lost its node",
  paused: "paused",
  accepted: "accepted",
  rejected: "rejected",
};

export function statusWord(status) {
  return STATUS[status] ?? String(status).replaceAll("_", " ");
}

/** A task is under way also while nothing of it runs. */
export function taskWord(task) {
  if (task.details?.cancelling) return "being cancelled";
  if (task.paused) return "paused";
  return task.status === "in_progress" ? "under way" : statusWord(task.status);
}

export function shortId(id) {
  return id ? id.slice(0, 8) : "";
}

export function time(iso) {
  return iso ? Date.parse(iso) : null;
}

export function clock(iso) {
  return new Date(iso).toLocaleTimeString([], { hour12: false });
}

export function moment(iso) {
  return iso ? new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" }) : "";
}

/** A sentence of the node, with its moments (ISO 8601, UTC) as this machine's clock shows them. */
export function inOurTime(sentence) {
  return sentence.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, (iso) => moment(iso));
}

/** `840 ms`, `12 s`, `4 min 05 s`, `3 h 12 min`, `2 d 4 h`. */
export function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "";
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(seconds % 60).padStart(2, "0")} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function ago(iso) {
  if (!iso) return "";
  const ms = Math.max(0, state.now - Date.parse(iso));
  if (ms < 5000) return "just now";
  return `${duration(ms).replace(/(min|h|d) .*/, "$1")} ago`;
}

export function since(iso) {
  return iso ? duration(Math.max(0, state.now - Date.parse(iso))) : "";
}

export function bytes(count) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function money(usd) {
  if (usd === null || usd === undefined) return "";
  return `$${usd < 1 ? usd.toFixed(4).replace(/0{1,2}$/, "") : usd.toFixed(2)}`;
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

export function firstLine(text, limit = 160) {
  const line = String(text ?? "").trim().split("\n", 1)[0];
  return line.length > limit ? `${line.slice(0, limit - 1)}…` : line;
}

const TASK_NEWS = {
  pending: "was submitted",
  initializing: "is being prepared",
  in_progress: "is under way",
  checkpoint: "waits for a person",
  completed: "is completed",
  failed: "failed",
  cancelled: "was cancelled",
  cancelling: "is being cancelled",
};

/** Answers `{what, where, status}` of an entry of the activity log; `where` is a node's name. */
export function news(entry) {
  const node = nodeName(entry.worker_id);
  const { action, details = {} } = entry;
  const [, kind, rest] = /^([a-z]+)_(.*)$/.exec(action) ?? [null, "", action];
  const name = entry.name || details.name || shortId(entry.subtask_id ?? "");
  if (kind === "task") return { what: `Task ${TASK_NEWS[rest] ?? words(rest)}`, where: "", status: rest };
  if (kind === "checkpoint") {
    const what = rest === "pending" ? "waits for you" : `was decided: ${details.decision ?? words(rest)}`;
    return { what: `${name || "The task"} ${what}`, where: "", status: rest === "pending" ? "checkpoint" : "completed" };
  }
  if (kind === "subtask") return { ...subtaskNews(rest, name, node, details), where: node };
  return { what: `${node || "Cluster"}: ${words(action)}`, where: node, status: quality(action) };
}

function subtaskNews(rest, name, node, details) {
  const lost = details.attempt_status === "lost";
  if (lost) return { what: `${name} lost its node ${node}`, status: "lost" };
  if (rest === "pending" && details.attempt_status === "failed") {
    return { what: `${name} failed and is tried again`, status: "failed" };
  }
  const said = {
    allocated: `${name} goes to ${node}`,
    in_progress: `${name} runs on ${node}`,
    completed: `${name} is completed`,
    failed: `${name} failed`,
    cancelled: `${name} was cancelled`,
    review: `${name} is being reviewed`,
  }[rest];
  return { what: said ?? `${name}: ${words(rest)}`, status: rest };
}

function quality(action) {
  if (/offline|lost|revoked|error/.test(action)) return "failed";
  return /online|registered|admitted|founded/.test(action) ? "completed" : "pending";
}

function words(text) {
  return text.replaceAll("_", " ");
}
