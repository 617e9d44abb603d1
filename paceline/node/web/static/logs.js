// What the attempts of a task write, as it comes: one stream, kept within bounds, filtered here.

import { batches, Problem } from "./api.js";
import { h } from "./dom.js";
import { list, ListState } from "./list.js";
import { changed, nodeName } from "./store.js";
import { count } from "./words.js";

const LINES_KEPT = 20_000;
const LINE_SHOWN = 2000;
const ROW_HEIGHT = 20;
const AGAIN_MS = 1500;

export class LogView {
  lines = [];
  shown = [];
  dropped = 0;
  follow = true;
  subtask = "";
  stream = "";
  search = "";
  trouble = "";
  at = new ListState();
  #numbers = 0;
  #stopper = null;

  constructor(taskId) {
    this.taskId = taskId;
  }

  /** Reads until the task has ended or `stop` is called; a broken stream is taken up again. */
  async start() {
    if (this.#stopper) return;
    this.#stopper = new AbortController();
    const { signal } = this.#stopper;
    while (!signal.aborted) {
      try {
        this.#clear();
        for await (const batch of batches(`tasks/${this.taskId}/logs`, { follow: true }, signal)) this.#take(batch);
        return;
      } catch (problem) {
        if (signal.aborted) return;
        this.trouble = problem instanceof Problem ? problem.message : "the log's stream broke";
        changed();
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  }

  stop() {
    this.#stopper?.abort();
    this.#stopper = null;
  }

  #clear() {
    this.lines = [];
    this.shown = [];
    this.dropped = 0;
    this.trouble = "";
  }

  #take(batch) {
    let last = this.lines.at(-1)?.time_ms ?? 0;
    let disordered = false;
    for (const line of batch) {
      if (line.problem) {
        this.trouble = line.problem.detail;
        continue;
      }
      line.number = this.#numbers++;
      disordered ||= line.time_ms < last;
      last = line.time_ms;
      this.lines.push(line);
      if (this.#fits(line)) this.shown.push(line);
    }
    if (disordered) {
      // Several machines write at once, and each one's lines come in order only by themselves.
      this.lines.sort((a, b) => a.time_ms - b.time_ms || a.number - b.number);
      this.filter();
    }
    if (this.lines.length > LINES_KEPT * 1.1) {
      this.dropped += this.lines.length - LINES_KEPT;
      this.lines = this.lines.slice(-LINES_KEPT);
      this.filter();
    }
    if (this.follow) this.#toEnd();
    changed();
  }

  filter() {
    this.shown = this.lines.filter((line) => this.#fits(line));
    if (this.follow) this.#toEnd();
    changed();
  }

  #fits(line) {
    if (this.subtask && line.name !== this.subtask) return false;
    if (this.stream && line.stream !== this.stream) return false;
    return !this.search || line.line.toLowerCase().includes(this.search.toLowerCase());
  }

  #toEnd() {
    requestAnimationFrame(() => requestAnimationFrame(() => {
      const element = this.at.element;
      if (element) element.scrollTop = element.scrollHeight;
    }));
  }

  /** All lines that are kept and fit, as a text file. */
  download() {
    const text = this.shown.map((line) => `${new Date(line.time_ms).toISOString()} ${line.name}#${line.attempt} ${line.stream}: ${line.line}`);
    save(`paceline-${this.taskId.slice(0, 8)}.log`, `${text.join("\n")}\n`);
  }

  draw(task) {
    return h(
      "section",
      { class: "log", "aria-label": "Log" },
      this.#controls(task),
      this.trouble && h("p", { class: "trouble" }, this.trouble),
      this.shown.length
        ? list({
            at: this.at,
            count: this.shown.length,
            rowHeight: ROW_HEIGHT,
            label: "Lines of the log",
            keyOf: (index) => this.shown[index].number,
            row: (index) => this.#row(this.shown[index]),
          })
        : h("p", { class: "empty" }, this.lines.length ? "No line fits." : "Nothing has been written yet."),
    );
  }

  #controls(task) {
    return h(
      "div",
      { class: "controls" },
      h("input", { type: "search", placeholder: "Search in the log", "aria-label": "Search in the log", value: this.search, oninput: (event) => { this.search = event.target.value; this.filter(); } }),
      h("select", { "aria-label": "Subtask", value: this.subtask, onchange: (event) => { this.subtask = event.target.value; this.filter(); } },
        h("option", { value: "" }, "All subtasks"),
        task.subtasks.map((each) => h("option", { key: each.name, value: each.name }, each.name))),
      h("select", { "aria-label": "Stream", value: this.stream, onchange: (event) => { this.stream = event.target.value; this.filter(); } },
        h("option", { value: "" }, "All streams"),
        ["stdout", "stderr", "node"].map((each) => h("option", { key: each, value: each }, each))),
      h("label", { class: "check" }, h("input", { type: "checkbox", checked: this.follow, onchange: (event) => { this.follow = event.target.checked; this.filter(); } }), "Follow"),
      h("span", { class: "muted grow" }, count(this.shown.length, "line"), this.dropped ? ` (${this.dropped} older ones were dropped)` : ""),
      h("button", { type: "button", onclick: () => this.download() }, "Download"),
    );
  }

  #row(line) {
    return h(
      "div",
      { class: `entry ${line.stream}`, title: `${line.name}, attempt ${line.attempt}, on ${nodeName(line.node_id)}, ${line.stream}` },
      h("span", { class: "when" }, line.time_ms ? new Date(line.time_ms).toLocaleTimeString([], { hour12: false }) : ""),
      h("span", { class: "who" }, line.name),
      h("span", { class: "stream" }, { stderr: "err", node: "node" }[line.stream] ?? ""),
      h("span", { class: "words" }, marked(line.line.slice(0, LINE_SHOWN), this.search)),
    );
  }
}

/** The line with what is searched for marked. */
function marked(text, search) {
  if (!search) return text;
  const at = text.toLowerCase().indexOf(search.toLowerCase());
  if (at < 0) return text;
  const end = at + search.length;
  return [text.slice(0, at), h("mark", {}, text.slice(at, end)), text.slice(end)];
}

export function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
