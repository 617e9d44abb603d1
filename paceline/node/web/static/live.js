// Keeps one stream open to the node, comes back when it breaks, and says when it is silent: old
// figures that look fresh are worse than none. A page that nobody sees holds no connection, as a
// browser has only six of them for a node.

import { get, getOrNull } from "./api.js";
import { changed, gently, onActivity, state, takeCluster, tellActivity } from "./store.js";

const SHORTEST_MS = 250;
const LONGEST_MS = 5000;
const BATCH_MS = 16;
const HIDDEN_MS = 60_000;

let source = null;
let after = 0;
let waitMs = SHORTEST_MS;
let timer = 0;
let hiddenTimer = 0;
let pending = [];
let asked = false;

const lookForNewcomers = gently(() => readNewcomers(), 2000);

export function goLive() {
  onActivity(gently(readRunning));
  onActivity(gently(readCheckpoints, 200));
  document.addEventListener("visibilitychange", seen);
  setInterval(() => {
    state.now = Date.now();
    changed();
  }, 1000);
  connect();
}

function connect() {
  clearTimeout(timer);
  source?.close();
  source = new EventSource(`/api/v1/live?after=${after}`);
  source.addEventListener("hello", greeted);
  source.addEventListener("cluster", (message) => {
    takeCluster(JSON.parse(message.data));
    lookForNewcomers();
  });
  source.addEventListener("activity", (message) => take(JSON.parse(message.data)));
  source.addEventListener("problem", broken);
  source.onerror = broken;
}

function greeted(message) {
  const { version } = JSON.parse(message.data);
  if (state.version && state.version !== version) location.reload();
  state.version = version;
  state.connected = true;
  asked = false;
  waitMs = SHORTEST_MS;
  tellActivity(null); // whatever happened meanwhile: lists are read again
}

/** A commit can bring a hundred entries: they are told together. */
function take(entry) {
  if (entry.log_id <= after) return;
  after = entry.log_id;
  if (pending.push(entry) > 1) return;
  setTimeout(() => {
    const entries = pending;
    pending = [];
    tellActivity(entries);
  }, BATCH_MS);
}

function broken() {
  source.close();
  state.connected = false;
  changed();
  clearTimeout(timer);
  timer = setTimeout(connect, waitMs);
  waitMs = Math.min(LONGEST_MS, waitMs * 2);
  get("status").catch(() => {}); // a session that has ended shows itself by this
}

function seen() {
  clearTimeout(hiddenTimer);
  if (document.hidden) {
    hiddenTimer = setTimeout(() => {
      clearTimeout(timer);
      source.close();
      source = null;
    }, HIDDEN_MS);
  } else if (!source) connect();
}

/** Asked for only where the status says that somebody waits: the leader has to be asked. */
async function readNewcomers() {
  const waiting = state.cluster?.warnings.some((each) => each.includes("asks to join"));
  state.newcomers = waiting ? (await get("newcomers")).newcomers : [];
  changed();
}

async function readRunning() {
  state.running = (await get("running")).running;
  changed();
}

async function readCheckpoints() {
  if (state.checkpoints === null && asked) return; // this node's version has none
  asked = true;
  const answer = await getOrNull("checkpoints", { status: "pending" });
  state.checkpoints = answer?.checkpoints ?? null;
  changed();
}
