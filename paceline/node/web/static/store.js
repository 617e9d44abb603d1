// What the page knows, in one place. Whoever changes it says so by `changed()`; the page is then
// drawn again with the next frame, once, however many changes there were.

const EVENTS_KEPT = 300;
const SAMPLES_KEPT = 120;
const NODES_KEPT = 100;

export const state = {
  cluster: null,
  version: "",
  connected: false,
  heardAt: 0,
  events: [],
  running: [],
  newcomers: [],
  checkpoints: null, // null = this node's version knows none
  samples: new Map(),
  now: Date.now(),
};

const SAMPLES = "paceline.samples";

/** Curves outlive a reload of the page, not the tab. */
export function keepSamples() {
  try {
    state.samples = new Map(JSON.parse(sessionStorage.getItem(SAMPLES) ?? "[]"));
  } catch {
    sessionStorage.removeItem(SAMPLES);
  }
  window.addEventListener("pagehide", () => {
    const kept = [...state.samples].slice(0, NODES_KEPT);
    sessionStorage.setItem(SAMPLES, JSON.stringify(kept));
  });
}

const listeners = new Set();
let drawing = false;
let draw = () => {};

export function onDraw(callback) {
  draw = callback;
}

export function changed() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

/** Calls back with each batch of activity, and with null when anything may have changed. */
export function onActivity(callback) {
  listeners.add(callback);
  return () => listeners.delete(callback);
}

export function tellActivity(entries) {
  if (entries) state.events = [...entries.toReversed(), ...state.events].slice(0, EVENTS_KEPT);
  for (const callback of [...listeners]) callback(entries);
  changed();
}

export function takeCluster(cluster) {
  state.cluster = cluster;
  state.heardAt = Date.now();
  for (const member of cluster.members) {
    const { cpu_percent: cpu, memory_percent: memory, disk_percent: disk } = member.resources;
    if (cpu === undefined) continue;
    const kept = state.samples.get(member.node_id) ?? [];
    state.samples.set(member.node_id, [...kept, { cpu, memory, disk }].slice(-SAMPLES_KEPT));
  }
  changed();
}

export function member(nodeId) {
  return state.cluster?.members.find((each) => each.node_id === nodeId) ?? null;
}

export function nodeName(nodeId) {
  return nodeId ? member(nodeId)?.name || nodeId.slice(0, 8) : "";
}

/** Calls `read` soon, again while calls go on, and never twice at once nor back to back. */
export function gently(read, pauseMs = 60) {
  let wanted = false;
  let busy = false;
  async function run() {
    busy = true;
    while (wanted) {
      wanted = false;
      const began = performance.now();
      await read().catch((problem) => console.warn(problem.message));
      // What takes long is asked for less often.
      const rest = Math.max(pauseMs, 2 * (performance.now() - began));
      await new Promise((resolve) => setTimeout(resolve, rest));
    }
    busy = false;
  }
  return () => {
    wanted = true;
    if (!busy) run();
  };
}
