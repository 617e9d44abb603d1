// What a task changed in its repository, as a patch.

import { Problem, text } from "./api.js";
import { diff } from "./diff.js";
import { h } from "./dom.js";
import { save } from "./logs.js";
import { empty, loading } from "./parts.js";
import { changed } from "./store.js";

export class Changes {
  subtask = "";
  patch = null;
  trouble = "";

  constructor(taskId) {
    this.taskId = taskId;
  }

  async read() {
    this.trouble = "";
    const wanted = this.subtask;
    try {
      const patch = await text(`tasks/${this.taskId}/result/patch`, { subtask: wanted });
      if (wanted === this.subtask) this.patch = patch;
    } catch (problem) {
      this.patch = "";
      this.trouble = problem instanceof Problem ? problem.message : "the node does not answer";
    }
    changed();
  }

  draw(task) {
    return h("section", { "aria-label": "Changes" },
      h("div", { class: "controls" },
        h("select", { "aria-label": "Changes of", value: this.subtask, onchange: (event) => { this.subtask = event.target.value; this.patch = null; this.read(); } },
          h("option", { value: "" }, "The whole task"),
          task.subtasks.map((each) => h("option", { key: each.name, value: each.name }, each.name))),
        h("button", { type: "button", onclick: () => this.read() }, "Read again"),
        this.patch ? h("button", { type: "button", onclick: () => save(`paceline-${this.taskId.slice(0, 8)}.patch`, this.patch) }, "Download") : null),
      this.trouble ? empty("There is no patch to show.", h("p", {}, this.trouble)) : this.patch === null ? loading() : diff(this.patch));
  }
}
