// Questions and short messages.

import { h, render } from "./dom.js";

const SHOWN_MS = 6000;

/** Says something for a few seconds; screen readers hear it. */
export function say(text, kind = "good") {
  const place = document.getElementById("says");
  const line = document.createElement("p");
  line.className = kind;
  line.textContent = text;
  place.append(line);
  setTimeout(() => line.remove(), SHOWN_MS);
}

/** Does something and says how it went. Answers whether it went well. */
export async function attempt(action, done) {
  try {
    const answer = await action();
    if (done) say(typeof done === "function" ? done(answer) : done);
    return true;
  } catch (problem) {
    say(problem.message, "bad");
    return false;
  }
}

/**
 * Asks before something happens. Answers what was typed into `field` ("" without one), or null.
 * With `mustType`, exactly that has to be typed first.
 */
export function ask({ title, text, action, danger = false, field = "", mustType = "" }) {
  return new Promise((resolve) => {
    const dialog = document.createElement("dialog");
    let typed = "";
    const close = (answer) => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    const draw = () => render(dialog, parts());
    const parts = () => [
      h("h2", { id: "asked" }, title),
      h("p", {}, text),
      (field || mustType) &&
        h("label", { class: "field" }, field || `Type “${mustType}” to confirm`,
          h("input", { type: "text", value: typed, autocomplete: "off", oninput: (event) => { typed = event.target.value; draw(); } })),
      h("div", { class: "buttons" },
        h("button", { type: "button", onclick: () => close(null) }, "Not now"),
        h("button", { type: "button", class: danger ? "danger" : "primary", disabled: mustType !== "" && typed !== mustType, onclick: () => close(typed) }, action)),
    ];
    dialog.setAttribute("aria-labelledby", "asked");
    dialog.oncancel = () => close(null);
    draw();
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Shows parts in a dialog until it is closed. */
export function show(title, ...children) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "shown");
  const close = () => {
    dialog.close();
    dialog.remove();
  };
  dialog.oncancel = close;
  render(dialog, h("h2", { id: "shown" }, title), children,
    h("div", { class: "buttons" }, h("button", { type: "button", class: "primary", onclick: close }, "Close")));
  document.body.append(dialog);
  dialog.showModal();
}
