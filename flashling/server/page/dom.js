// Elements by plain calls. Text of a model reaches the document only as text nodes.

const DRAWING = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

// h("button.quiet", {onclick}, "text"): an element with classes, properties and children
export function h(what, props = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  return fill(node, props, children);
}

export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(DRAWING, tag), props, children);
}

const ICONS = {
  plus: "M10 4v12M4 10h12",
  send: "M10 16V4M5 9l5-5 5 5",
  stop: "M6 6h8v8H6z",
  copy: "M7 7h9v9H7zM4 13V4h9",
  edit: "M4 16l1-4 8-8 3 3-8 8zM11 6l3 3",
  retry: "M15.5 8A6 6 0 1 0 16 11M16 4v4h-4",
  fork: "M6 7v6M6 13a2 2 0 1 0 .01 0M6 3a2 2 0 1 0 .01 0M14 3a2 2 0 1 0 .01 0M14 7c0 4-8 2-8 6",
  left: "M12 5l-5 5 5 5",
  right: "M8 5l5 5-5 5",
  down: "M10 4v12M5 11l5 5 5-5",
  close: "M5 5l10 10M15 5L5 15",
  menu: "M3 6h14M3 10h14M3 14h14",
  sliders: "M3 6h7M14 6h3M3 14h3M10 14h7M12 4v4M8 12v4",
  bin: "M4 6h12M8 6V4h4v2M6 6l1 10h6l1-10",
  pulse: "M2 11h4l2-6 4 11 2-5h4",
  chat: "M4 4h12v9H9l-4 3v-3H4z",
  eye: "M2 10c4-7 12-7 16 0-4 7-12 7-16 0zM10 8a2 2 0 1 0 .01 0",
  save: "M10 3v10M6 9l4 4 4-4M4 17h12",
  layers: "M10 3l8 4-8 4-8-4zM2 10.5l8 4 8-4M2 14l8 4 8-4",
  why: "M17 10a7 7 0 1 1-14 0a7 7 0 1 1 14 0M8 8.2c0-2.6 4-2.6 4 0 0 1.5-2 1.5-2 3M10 13.6v.1",
  disk: "M3 12h14v4H3zM3 12l2-8h10l2 8M13.5 14h1",
  tool: "M12 4a4 4 0 0 0-4 5l-5 5 3 3 5-5a4 4 0 0 0 5-4l-3 2-2-2 2-3z",
};

export function icon(name) {
  const props = { viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" };
  return svg("svg", props, svg("path", { d: ICONS[name] }));
}

// a button that is an icon; its label is read out and shown on hover
export function press(name, label, onclick, props = {}) {
  return h("button.press", { type: "button", title: label, "aria-label": label, onclick, ...props },
    icon(name));
}

// the clipboard interface exists in secure contexts only, so there is the old way beside it
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = h("textarea.unseen", { value: text });
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

export function copier(label, done, text) {
  const button = press("copy", label, async () => {
    await copy(text());
    say(done);
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
  });
  return button;
}

export function save(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// what happens is said to screen readers once, not token by token
export function say(text) {
  document.getElementById("said").textContent = text;
}

// grows a text field with its text, up to the height its style allows
export function grow(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}
