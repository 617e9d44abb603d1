// A patch as people read it: file by file, old and new line numbers, signs beside the colours, and,
// where comments are wanted, a place to write under each line.

import { h } from "./dom.js";
import { familyOf, tokens } from "./syntax.js";
import { count } from "./words.js";

const LINES_MAX = 6000;

/** Answers `[{path, added, removed, lines: [{kind, text, old, new}], note}]` of a unified diff. */
export function parse(patch) {
  const files = [];
  let file = null;
  let old = 0;
  let fresh = 0;
  for (const line of patch.split("\n")) {
    if (line.startsWith("diff --git ")) {
      file = { path: / b\/(.*)$/.exec(line)?.[1] ?? line.slice(11), added: 0, removed: 0, lines: [], note: "" };
      files.push(file);
      old = fresh = 0;
    } else if (!file) continue;
    else if (line.startsWith("@@")) {
      const match = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@(.*)/.exec(line);
      [old, fresh] = match ? [Number(match[1]), Number(match[2])] : [1, 1];
      file.lines.push({ kind: "hunk", text: line });
    } else if (!fresh && !old) noted(file, line);
    else if (line.startsWith("+")) file.lines.push({ kind: "add", text: line.slice(1), new: fresh++ }), file.added++;
    else if (line.startsWith("-")) file.lines.push({ kind: "del", text: line.slice(1), old: old++ }), file.removed++;
    else if (line.startsWith(" ")) file.lines.push({ kind: "same", text: line.slice(1), old: old++, new: fresh++ });
    else if (line.startsWith("\\")) file.lines.push({ kind: "note", text: line.slice(2) });
  }
  return files;
}

function noted(file, line) {
  if (line.startsWith("new file")) file.note = "new";
  else if (line.startsWith("deleted file")) file.note = "deleted";
  else if (line.startsWith("rename from")) file.note = `renamed from ${line.slice(12)}`;
  else if (line.startsWith("Binary files")) file.note = "binary";
}

let parsed = { patch: null, files: [] };

/** Draws a patch. `comments` (with `onopen`, `onwrite`, `ondrop`) makes its lines answerable. */
export function diff(patch, comments = null) {
  if (parsed.patch !== patch) parsed = { patch, files: parse(patch) };
  const { files } = parsed;
  if (!files.length) return h("p", { class: "muted" }, "Nothing was changed.");
  const added = files.reduce((sum, file) => sum + file.added, 0);
  const removed = files.reduce((sum, file) => sum + file.removed, 0);
  let left = LINES_MAX;
  return h(
    "div",
    { class: "diff" },
    h("p", { class: "total" }, `${count(files.length, "file")} changed, `, h("span", { class: "add" }, `+${added}`), " ", h("span", { class: "del" }, `−${removed}`)),
    files.map((file) => {
      const shown = file.lines.slice(0, Math.max(0, left));
      left -= shown.length;
      return one(file, shown, comments);
    }),
  );
}

function one(file, shown, comments) {
  const family = familyOf(file.path);
  return h(
    "details",
    { key: file.path, class: "file", opened: true },
    h("summary", {}, h("code", {}, file.path), file.note && h("span", { class: "muted" }, file.note), h("span", { class: "add" }, `+${file.added}`), h("span", { class: "del" }, `−${file.removed}`)),
    h(
      "div",
      { class: "code", tabindex: 0, role: "group", "aria-label": `Changes of ${file.path}` },
      h("table", {}, h("tbody", {}, shown.map((line, at) => row(file, line, at, family, comments)))),
      shown.length < file.lines.length && h("p", { class: "muted" }, `${file.lines.length - shown.length} more lines are not shown; download the patch for all of it.`),
    ),
  );
}

const SIGNS = { add: "+", del: "−", same: " ", hunk: "", note: "" };

function row(file, line, at, family, comments) {
  const number = line.new ?? line.old;
  const answerable = comments && line.kind !== "hunk" && line.kind !== "note";
  const written = answerable ? comments.of(file.path, number, line.kind) : null;
  return [
    h(
      "tr",
      { key: `r${at}`, class: line.kind },
      h("td", { class: "no" }, line.old ?? ""),
      h("td", { class: "no" }, line.new ?? ""),
      h("td", { class: "sign" }, SIGNS[line.kind]),
      h("td", { class: "text" },
        answerable && h("button", { type: "button", class: "note", "aria-label": `Comment on line ${number} of ${file.path}`, onclick: () => comments.onopen(file.path, number, line.kind) }, "+"),
        (line.kind === "hunk" ? [["", line.text]] : tokens(line.text, family)).map(([kind, text]) => (kind ? h("span", { class: `t-${kind}` }, text) : text))),
    ),
    written !== null && written !== undefined &&
      h("tr", { key: `c${at}`, class: "comment" }, h("td", { colspan: 4 },
        h("label", {}, h("span", { class: "hidden" }, `Comment on line ${number}`),
          h("textarea", { rows: 2, value: written, placeholder: "What should be different here?", oninput: (event) => comments.onwrite(file.path, number, line.kind, event.target.value) })),
        h("button", { type: "button", onclick: () => comments.ondrop(file.path, number, line.kind) }, "Remove"))),
  ];
}
