// Makes the page equal to a description of it, and touches only what differs, so that focus,
// selection and scrolling survive every update. Whatever somebody wrote becomes a text node or an
// attribute's value, never markup: there is no way in here to make HTML of a string.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "open", "indeterminate"]);

/** Describes an element: `h("a", {href, class, key, onclick}, children...)`. */
export function h(kind, props, ...children) {
  const given = props ?? {};
  return { kind, props: given, key: given.key, children: children.flat(Infinity).filter(shown) };
}

function shown(child) {
  return child !== null && child !== undefined && child !== false && child !== true;
}

/** Makes the children of `parent` what is described. */
export function render(parent, ...children) {
  const wanted = children.flat(Infinity).filter(shown);
  patchChildren(parent, wanted, parent.namespaceURI === SVG);
}

function patchChildren(parent, wanted, inSvg) {
  const keys = new Set(wanted.map((each) => each.key).filter((key) => key !== undefined));
  const keyed = new Map();
  for (const node of parent.childNodes) if (node.$key !== undefined) keyed.set(node.$key, node);
  let place = parent.firstChild;
  for (const each of wanted) {
    // What is gone makes room first: moving its neighbours instead would cost them their focus.
    while (place && place.$key !== undefined && !keys.has(place.$key)) place = dropped(place);
    const node = found(each, place, keyed) ?? made(each, inSvg);
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
    patch(node, each, inSvg);
  }
  while (place) place = dropped(place);
}

function found(wanted, place, keyed) {
  if (typeof wanted !== "object") return place?.nodeType === Node.TEXT_NODE ? place : null;
  const node = wanted.key === undefined ? place : keyed.get(wanted.key);
  return node && node.$key === wanted.key && node.$kind === wanted.kind ? node : null;
}

function made(wanted, inSvg) {
  if (typeof wanted !== "object") return document.createTextNode("");
  const svg = inSvg || wanted.kind === "svg";
  const node = svg
    ? document.createElementNS(SVG, wanted.kind)
    : document.createElement(wanted.kind);
  node.$kind = wanted.kind;
  node.$key = wanted.key;
  node.$props = {};
  return node;
}

function patch(node, wanted, inSvg) {
  if (typeof wanted !== "object") {
    const text = String(wanted);
    if (node.data !== text) node.data = text;
    return;
  }
  const { own, ...props } = wanted.props;
  if (own) adopt(node, own);
  else if (wanted.kind !== "textarea") {
    patchChildren(node, wanted.children, (inSvg || wanted.kind === "svg"));
  }
  // After the children: a select can only take a value that one of its options has.
  patchProps(node, props);
}

/** A part that looks after its own children: `own.mount(node)` once, `own.update(node)` always. */
function adopt(node, own) {
  if (!node.$own) {
    node.$own = own;
    node.dataset.own = "";
    own.mount?.(node);
  }
  own.update?.(node);
}

function patchProps(node, props) {
  const before = node.$props;
  for (const name of Object.keys(before)) if (!(name in props)) setProp(node, name, null, before[name]);
  for (const [name, value] of Object.entries(props)) {
    if (name !== "key" && (value !== before[name] || PROPERTIES.has(name))) {
      setProp(node, name, value, before[name]);
    }
  }
  node.$props = props;
}

function setProp(node, name, value, before) {
  if (name.startsWith("on")) node[name] = value;
  else if (name === "opened") node.open = true; // to begin with; then as the reader leaves it
  else if (name === "style") setStyle(node, value ?? {}, before ?? {});
  else if (PROPERTIES.has(name)) {
    if (node[name] !== (value ?? "")) node[name] = value ?? "";
  } else if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : value);
}

/** By the object model: the content security policy forbids style attributes. */
function setStyle(node, wanted, before) {
  for (const name of Object.keys(before)) if (!(name in wanted)) node.style.removeProperty(name);
  for (const [name, value] of Object.entries(wanted)) node.style.setProperty(name, value);
}

function dropped(node) {
  const next = node.nextSibling;
  if (node.nodeType === Node.ELEMENT_NODE) {
    for (const each of [node, ...node.querySelectorAll("[data-own]")]) each.$own?.unmount?.(each);
  }
  node.remove();
  return next;
}
