// Colours for code: words, strings, comments and numbers, told apart by one expression per family of
// languages. A line at a time, as diffs come; good enough to read by, and never wrong about the text.

const FAMILIES = {
  hash: { comment: "#.*", words: "and as assert async await break class continue def del do done elif else esac except export False fi finally for from function global if import in is lambda local None nonlocal not or pass raise return self then True try while with yield" },
  slash: { comment: "//.*|/\\*.*?(?:\\*/|$)|^\\s*\\*.*", words: "abstract as async await boolean break case catch chan char class const continue default defer do double else enum export extends extern false final finally float fn for from func function go if impl implements import in int interface let long loop match mod mut new nil null package private protected pub public return self static struct super switch this throw true try type typeof undefined unsafe use var void while yield" },
  none: { comment: "(?!)", words: "" },
};

const BY_ENDING = {
  py: "hash", sh: "hash", rb: "hash", toml: "hash", yaml: "hash", yml: "hash", cfg: "hash", ini: "hash", mk: "hash",
  js: "slash", mjs: "slash", ts: "slash", tsx: "slash", jsx: "slash", go: "slash", rs: "slash", java: "slash",
  c: "slash", h: "slash", cc: "slash", cpp: "slash", cs: "slash", swift: "slash", kt: "slash", php: "slash", css: "slash",
};

const made = new Map();

function expression(family) {
  if (!made.has(family)) {
    const { comment, words } = FAMILIES[family];
    const word = words ? `\\b(?:${words.split(" ").join("|")})\\b` : "(?!)";
    const string = "\"(?:[^\"\\\\]|\\\\.)*\"?|'(?:[^'\\\\]|\\\\.)*'?|`(?:[^`\\\\]|\\\\.)*`?";
    made.set(family, new RegExp(`(${comment})|(${string})|(${word})|(\\b\\d[\\w.]*)`, "g"));
  }
  return made.get(family);
}

export function familyOf(path) {
  return BY_ENDING[/\.(\w+)$/.exec(path)?.[1] ?? ""] ?? "none";
}

const LINE_MAX = 400;

/** Answers `[kind, text]` pairs that together are the line; kind is "" for plain text. */
export function tokens(line, family) {
  if (family === "none" || line.length > LINE_MAX) return [["", line]];
  const found = [];
  let end = 0;
  for (const match of line.matchAll(expression(family))) {
    if (match.index > end) found.push(["", line.slice(end, match.index)]);
    const kind = ["comment", "string", "word", "number"][match.slice(1).findIndex((each) => each !== undefined)];
    found.push([kind, match[0]]);
    end = match.index + match[0].length;
  }
  if (end < line.length) found.push(["", line.slice(end)]);
  return found;
}
