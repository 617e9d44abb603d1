// Where the boxes of a graph go: columns by what each needs, rows so that few arrows cross.
// Sugiyama's method in its simplest form: longest path for the columns, then some sweeps that sort
// each column by the middle of its neighbours. Pure: names in, places out.

const SWEEPS = 6;

/** Answers columns of names for `{name, needs}` items. What is in a cycle stands in the last one. */
export function columns(items) {
  const known = new Map(items.map((each) => [each.name, each]));
  const depth = new Map();
  let left = items;
  for (let column = 0; left.length; column += 1) {
    const ready = left.filter((each) =>
      each.needs.every((need) => !known.has(need) || depth.has(need)),
    );
    const taken = ready.length ? ready : left;
    for (const each of taken) depth.set(each.name, column);
    const names = new Set(taken.map((each) => each.name));
    left = left.filter((each) => !names.has(each.name));
  }
  const found = [];
  for (const each of items) (found[depth.get(each.name)] ??= []).push(each.name);
  return untangled(found, items);
}

function untangled(found, items) {
  const needs = new Map(items.map((each) => [each.name, each.needs]));
  const needed = new Map(items.map((each) => [each.name, []]));
  for (const each of items) for (const need of each.needs) needed.get(need)?.push(each.name);
  let order = found;
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const [links, list] = sweep % 2 ? [needed, order.toReversed()] : [needs, order];
    const rows = new Map();
    const swept = list.map((names) => sorted(names, links, rows));
    order = sweep % 2 ? swept.toReversed() : swept;
  }
  return order;
}

function sorted(names, links, rows) {
  const middle = (name, at) => {
    const places = links.get(name).map((other) => rows.get(other)).filter((row) => row !== undefined);
    if (!places.length) return names.length > 1 ? at / (names.length - 1) : 0.5;
    return places.reduce((sum, row) => sum + row, 0) / places.length;
  };
  const weighed = names.map((name, at) => [name, middle(name, at)]);
  const result = weighed.sort((a, b) => a[1] - b[1]).map(([name]) => name);
  // Rows count as shares of the column's height, so that columns of unequal length compare.
  result.forEach((name, at) => rows.set(name, (at + 0.5) / result.length));
  return result;
}

/** Answers `{width, height, boxes: Map(name -> {x, y}), arrows: [{from, to, path}]}`. */
export function layout(items, { boxWidth, boxHeight, gapX, gapY }) {
  const order = columns(items);
  const tallest = Math.max(1, ...order.map((names) => names.length));
  const height = tallest * (boxHeight + gapY) - gapY;
  const boxes = new Map();
  order.forEach((names, column) => {
    const used = names.length * (boxHeight + gapY) - gapY;
    names.forEach((name, row) => {
      const y = (height - used) / 2 + row * (boxHeight + gapY);
      boxes.set(name, { x: column * (boxWidth + gapX), y, column });
    });
  });
  const arrows = items.flatMap((each) =>
    each.needs.filter((need) => boxes.has(need)).map((need) => ({
      from: need,
      to: each.name,
      path: arrow(boxes.get(need), boxes.get(each.name), boxWidth, boxHeight, gapX),
    })),
  );
  return { width: order.length * (boxWidth + gapX) - gapX, height, boxes, arrows };
}

function arrow(from, to, boxWidth, boxHeight, gapX) {
  const x1 = from.x + boxWidth;
  const y1 = from.y + boxHeight / 2;
  const y2 = to.y + boxHeight / 2;
  const bend = Math.max(gapX / 2, 12);
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${to.x - bend} ${y2} ${to.x} ${y2}`;
}
