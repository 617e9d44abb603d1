// The REST interface of the node that serves this page. Reading goes by the session's cookie;
// whatever changes something also carries the action key, which the login left in the address'
// fragment and which is kept where only this host and port can read it.

const KEY = "paceline.key";
const TEXT_LIMIT_BYTES = 8_000_000;

/** A refusal, with the words of the node: `detail` is for a person, `code` for a program. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `the node answered ${status}`);
    this.status = status;
    this.code = document.code ?? "";
    this.line = document.line ?? null;
  }
}

/** Takes the key out of the address, so that it stays in no history. */
export function takeKey() {
  const match = /^#key=([0-9a-f]{64})$/.exec(location.hash);
  if (!match) return;
  localStorage.setItem(KEY, match[1]);
  history.replaceState(null, "", location.pathname);
}

export function mayAct() {
  return localStorage.getItem(KEY) !== null;
}

export function dropKey() {
  localStorage.removeItem(KEY);
}

export async function get(path, query = {}, signal = undefined) {
  return answered(await fetch(address(path, query), { signal }));
}

/** Null where there is no such thing (404): this node's version may not have it yet. */
export async function getOrNull(path, query = {}) {
  try {
    return await get(path, query);
  } catch (problem) {
    if (problem.status === 404) return null;
    throw problem;
  }
}

export function post(path, body = {}) {
  return change("POST", path, body);
}

export function patch(path, body) {
  return change("PATCH", path, body);
}

async function change(method, path, body) {
  const headers = {
    "Content-Type": "application/json",
    "X-Paceline-Key": localStorage.getItem(KEY) ?? "",
  };
  const options = { method, headers, body: JSON.stringify(body) };
  return answered(await fetch(address(path, {}), options));
}

export async function text(path, query = {}) {
  const response = await fetch(address(path, query));
  if (!response.ok) await answered(response);
  const size = Number(response.headers.get("content-length") ?? 0);
  if (size > TEXT_LIMIT_BYTES) {
    await response.body.cancel();
    throw new Problem(413, { detail: `It is too large to show (${Math.round(size / 1e6)} MB).` });
  }
  return response.text();
}

/** Yields the documents of a stream of lines, in batches as they arrive. */
export async function* batches(path, query, signal) {
  const response = await fetch(address(path, query), { signal });
  if (!response.ok) await answered(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    if (lines.length) yield lines.filter(Boolean).map((line) => JSON.parse(line));
  }
}

async function answered(response) {
  if (response.status === 401) location.reload(); // the shell says how to get in
  const document = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, document);
  return document;
}

function address(path, query) {
  const said = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  const search = new URLSearchParams(said).toString();
  return `/api/v1/${path}${search ? `?${search}` : ""}`;
}
