// How this node is set up (to look at), and how this page is (to change).

import { dropKey, get, mayAct, post } from "./api.js";
import { h } from "./dom.js";
import { keysOn, turnKeys } from "./keys.js";
import { failure, loading, panel } from "./parts.js";
import { changed, state } from "./store.js";
import { setTheme, theme } from "./theme.js";

let settings = null;
let problem = null;

export const settingsView = {
  title: () => "Settings",
  enter() {
    get("settings").then((answer) => { settings = answer; changed(); }, (failed) => { problem = failed; changed(); });
    return null;
  },
  draw() {
    if (problem) return failure(problem);
    if (!settings) return loading();
    return [
      h("h1", {}, "Settings"),
      panel("This page", null,
        h("div", { class: "chips", role: "group", "aria-label": "Colours" }, [["auto", "As the system"], ["light", "Light"], ["dark", "Dark"]].map(([name, words]) => h("button", { key: name, type: "button", "aria-pressed": String(theme() === name), onclick: () => { setTheme(name); changed(); } }, words))),
        h("label", { class: "check" }, h("input", { type: "checkbox", checked: keysOn(), onchange: (event) => { turnKeys(event.target.checked); changed(); } }), "Single keys act ( ? shows them)"),
        h("p", { class: "muted" }, mayAct() ? "This page may act: submit, decide, cancel, drain, leave and revoke." : "This page may only read. `paceline web` makes a link with which it may act."),
        mayAct() && h("button", { type: "button", onclick: out }, "Log out")),
      h("p", { class: "muted" }, `How ${state.cluster?.members.find((each) => each.node_id === state.cluster.node_id)?.name ?? "this node"} is set up. Options are given when it is started.`),
      h("div", { class: "cards" }, settings.groups.map((group) => panel(group.title, null, h("dl", { class: "facts wide" }, group.rows.map((row) => h("div", { key: row.label }, h("dt", {}, row.label, row.option && h("code", { class: "small" }, ` ${row.option}`)), h("dd", {}, String(row.value)))))))),
    ];
  },
};

async function out() {
  await post("logout").catch(() => {});
  dropKey();
  location.reload();
}
