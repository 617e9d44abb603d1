// The keyboard. Single keys act only outside of fields, and can be turned off in the settings
// (WCAG 2.1.4): with speech input they would be pressed by chance.

const OFF = "paceline.keys";
const bound = new Map();
let prefix = "";
let prefixTimer = 0;

export function keysOn() {
  return localStorage.getItem(OFF) !== "off";
}

export function turnKeys(on) {
  if (on) localStorage.removeItem(OFF);
  else localStorage.setItem(OFF, "off");
}

/** Binds keys for as long as the page is open: `{"/": fn, "g t": fn}`. */
export function bind(keys) {
  for (const [key, action] of Object.entries(keys)) bound.set(key, action);
}

let ofView = {};

/** Binds the keys of the view that is shown now, in place of those of the one before. */
export function bindView(keys) {
  ofView = keys;
}

function pressed(event) {
  if (!keysOn() || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (inField(event.target) || document.querySelector("dialog[open]")) return;
  const key = prefix ? `${prefix} ${event.key}` : event.key;
  prefix = "";
  clearTimeout(prefixTimer);
  const action = ofView[key] ?? bound.get(key);
  if (action) {
    event.preventDefault();
    action();
  } else if ([...bound.keys()].some((each) => each.startsWith(`${event.key} `))) {
    prefix = event.key;
    prefixTimer = setTimeout(() => (prefix = ""), 1200);
  }
}

function inField(target) {
  return target.closest?.("input, textarea, select, [contenteditable]") !== null;
}

document.addEventListener("keydown", pressed);
