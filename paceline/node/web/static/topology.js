// The cluster as a picture: who leads, who votes, who is away, whose slots are busy, and how long
// ago this node heard from each. Every node keeps its place, so that when another takes the front
// only the crown moves. A few nodes stand in a ring around which lines show the links; more of them
// stand in rows, where lines would hide what they join, and a bad link shows on its node.

import { h } from "./dom.js";
import { icon } from "./shapes.js";

const WIDTH = 640;
const HEIGHTS = [200, 200, 200, 344, 400];
const SLOW_MS = 1600;
const RING_MAX = 7;
const ROWS_WIDE = 15; // up to so many have room for larger circles
const NAME_CUT = 11;
const FEW = 3;

export function topology(cluster, running = []) {
  const members = [...cluster.members].sort((a, b) =>
    a.node_id < b.node_id ? -1 : 1,
  ).sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  const crowded = members.length > RING_MAX;
  const radius = !crowded ? 32 : members.length > ROWS_WIDE ? 15 : 24;
  const height = crowded ? rowsOf(members.length, radius).height : HEIGHTS[Math.min(4, members.length)];
  const places = new Map(members.map((each, at) => [each.node_id, place(at, members.length, height, radius)]));
  const leader = places.get(cluster.leader_id);
  return h(
    "svg",
    { class: `topology${crowded ? " crowded" : ""}`, viewBox: members.length > FEW ? `0 0 ${WIDTH} ${height}` : `110 0 ${WIDTH - 220} ${height}`, role: "group", "aria-label": "Nodes of the cluster" },
    h("g", { key: "links", "aria-hidden": "true" }, crowded ? [] : members.map((each) => link(each, cluster, leader, places))),
    members.map((each) => vertex(each, cluster, places.get(each.node_id), radius, crowded, running)),
    leader && crown(leader, radius),
  );
}

/** Answers the place in a ring, with room for a crown above and words below, or in rows. */
function place(at, count, height, radius) {
  if (count > RING_MAX) return inRows(at, count, radius);
  const [above, below] = [72, 96];
  const middle = { x: WIDTH / 2, y: (above + height - below) / 2 };
  if (count === 1) return middle;
  if (count === 2) return { x: WIDTH * (at ? 0.7 : 0.3), y: middle.y };
  const turned = count % 2 ? 0 : Math.PI / count; // no link runs straight down through a name
  const angle = -Math.PI / 2 - turned + (2 * Math.PI * at) / count;
  const width = (WIDTH / 2 - 70) * (count === 3 ? 0.7 : 1);
  const tall = ((height - above - below) / 2) * (count === 3 ? 1.25 : 1);
  const lift = count === 3 ? tall * 0.25 - 2 : 0;
  return { x: middle.x + width * Math.cos(angle), y: middle.y + tall * Math.sin(angle) + lift };
}

function rowsOf(count, radius) {
  const columns = Math.ceil(Math.sqrt(count * 1.7));
  const rows = Math.ceil(count / columns);
  const tall = 2 * radius + 56;
  return { columns, tall, height: rows * tall + 10 };
}

function inRows(at, count, radius) {
  const { columns, tall } = rowsOf(count, radius);
  const wide = WIDTH / columns;
  const row = Math.floor(at / columns);
  const inThis = Math.min(columns, count - row * columns);
  const start = (WIDTH - inThis * wide) / 2; // a short last row stands in the middle
  return { x: start + wide * ((at % columns) + 0.5), y: row * tall + radius + 34 };
}

function link(member, cluster, leader, places) {
  if (!leader || member.node_id === cluster.leader_id) return null;
  const at = places.get(member.node_id);
  const away = member.status === "offline";
  const slow = isSlow(member, cluster);
  return h("line", {
    key: `l:${member.node_id}`,
    x1: leader.x,
    y1: leader.y,
    x2: at.x,
    y2: at.y,
    class: `link${away ? " broken" : slow ? " slow" : ""}${member.role === "learner" ? " learning" : ""}`,
  });
}

function isSlow(member, cluster) {
  const away = member.status === "offline";
  return !away && member.node_id !== cluster.node_id && (member.silent_ms ?? 0) > SLOW_MS;
}

function vertex(member, cluster, at, radius, crowded, running) {
  const away = member.status === "offline";
  const own = member.node_id === cluster.node_id;
  const said = describe(member, own);
  const busy = away ? "" : member.slots ? String(member.running) : "–";
  // In the order of what is seen, as people who speak to their machine say what they see.
  const spoken = [busy, member.name, !crowded && said, !crowded && works(member, running)].filter(Boolean).join(" ");
  const classes = ["peer", member.role, crowded && isSlow(member, cluster) ? "slow" : "", away ? "away" : "", member.draining ? "draining" : "", own ? "own" : ""];
  return h(
    "a",
    { key: `n:${member.node_id}`, href: `#/node/${member.node_id}`, class: classes.filter(Boolean).join(" "), "aria-label": spoken },
    h("circle", { cx: at.x, cy: at.y, r: radius + 7, class: "halo" }),
    h("circle", { cx: at.x, cy: at.y, r: radius, class: "body" }),
    !away && slots(member, at, radius),
    away
      ? h("path", { d: cross(at, radius * 0.3), class: "cross" })
      : h("text", { x: at.x, y: at.y + (crowded ? 4 : 7), class: "busy" }, busy),
    " ", // keeps the words apart for those who hear them
    h("text", { x: at.x, y: at.y + radius + (crowded ? 17 : 23), class: "name" }, crowded && member.name.length > NAME_CUT ? `${member.name.slice(0, NAME_CUT - 1)}…` : member.name),
    " ",
    !crowded && h("text", { x: at.x, y: at.y + radius + 39, class: "role" }, said),
    " ",
    !crowded && h("text", { x: at.x, y: at.y + radius + 55, class: "works" }, works(member, running)),
  );
}

function works(member, running) {
  const names = running.filter((each) => each.node_id === member.node_id).map((each) => each.name);
  if (!names.length) return "";
  const first = names[0].length > 20 ? `${names[0].slice(0, 19)}…` : names[0];
  return names.length > 1 ? `${first} +${names.length - 1}` : first;
}

function describe(member, own) {
  if (member.status === "offline") return `${member.role}, away`;
  const state = member.draining ? ", draining" : "";
  return `${member.role}${state}${own ? ", this node" : ""}`;
}

/** One arc per slot around the node, full where something runs. */
function slots(member, at, radius) {
  const count = Math.min(member.slots, 16);
  const busy = member.slots > 16 ? Math.round((16 * member.running) / member.slots) : member.running;
  const gap = count > 1 ? Math.min(0.22, 1.6 / count) : 0;
  return Array.from({ length: count }, (_, index) => {
    const from = -Math.PI / 2 + (2 * Math.PI * index) / count + gap / 2;
    const to = -Math.PI / 2 + (2 * Math.PI * (index + 1)) / count - gap / 2 - (count === 1 ? 0.01 : 0);
    return h("path", { d: arc(at, radius + 5, from, to), class: `slot${index < busy ? " used" : ""}` });
  });
}

function arc(at, radius, from, to) {
  const point = (angle) => `${at.x + radius * Math.cos(angle)} ${at.y + radius * Math.sin(angle)}`;
  return `M${point(from)}A${radius} ${radius} 0 ${to - from > Math.PI ? 1 : 0} 1 ${point(to)}`;
}

function cross(at, half) {
  return `M${at.x - half} ${at.y - half}l${2 * half} ${2 * half}M${at.x + half} ${at.y - half}l${-2 * half} ${2 * half}`;
}

function crown(leader, radius) {
  const size = radius > 30 ? 26 : 18;
  const x = leader.x - size / 2;
  const y = leader.y - radius - size - 6;
  return h(
    "g",
    { key: "crown", class: "crown", "aria-hidden": "true", style: { transform: `translate(${x}px, ${y}px)` } },
    h("svg", { width: size, height: size, viewBox: "0 0 16 16" }, icon("crown").children),
  );
}
