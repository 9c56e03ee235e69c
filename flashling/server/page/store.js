// Conversations as trees, kept in localStorage: one entry each, and a list of them.

const PREFIX = "flashling.chat.";
const LIST = "flashling.chats";
const DEFAULTS = "flashling.settings";

export const BLANK = {
  model: "", system: "", temperature: "", top_p: "", top_k: "", min_p: "", max_tokens: "", seed: "",
  repetition_penalty: "", stops: "", thinking: "", tools: "", choice: "auto", form: "text", schema: "",
};

function read(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

// true when it was kept; storage may be full or forbidden, and the page goes on without it
function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return Array.from(bytes, (b) => b.toString(36).padStart(2, "0")).join("");
}

// A node: {id, parent, role, made} and, by role,
// user {text}; tool {results: call id -> text};
// assistant {text, thought, calls: [{id, name, arguments}], state, stats, form, asked: the settings
// that shaped its prompt; while it runs, stream: {call, id, last} and whether it is lost}.
export class Conversation {
  constructor(data) {
    Object.assign(this, data);
  }

  static fresh() {
    const settings = { ...BLANK, ...read(DEFAULTS, {}) };
    return new Conversation({ id: newId(), title: "", made: Date.now(), nodes: {}, leaf: null, settings });
  }

  static load(id) {
    const data = read(PREFIX + id, null);
    if (!data) return null;
    data.settings = { ...BLANK, ...data.settings };
    // an answer that was broken off stays as it stood, unless the server has kept the rest of it
    for (const node of Object.values(data.nodes)) {
      if (node.state === "running" && !node.stream?.id) node.state = "stopped";
    }
    return new Conversation(data);
  }

  // false when the browser's storage refused it
  save() {
    if (!this.leaf || this.gone) return true;
    const list = conversations().filter((c) => c.id !== this.id);
    const runs = Object.values(this.nodes).some((n) => n.state === "running");
    list.unshift({ id: this.id, title: this.title, at: this.at ?? this.made, runs });
    return write(PREFIX + this.id, this) && write(LIST, list);
  }

  add(parent, fields) {
    const node = { id: newId(), parent: parent?.id ?? null, made: Date.now(), ...fields };
    this.nodes[node.id] = node;
    this.leaf = node.id;
    this.at = node.made;
    if (!this.title && node.role === "user") this.title = node.text.trim().slice(0, 80);
    return node;
  }

  // the nodes from the first to `leaf`, or to the one that is shown
  path(leaf = this.leaf) {
    const out = [];
    for (let node = this.nodes[leaf]; node; node = this.nodes[node.parent]) out.unshift(node);
    return out;
  }

  children(parent) {
    const all = Object.values(this.nodes).filter((n) => n.parent === parent);
    return all.sort((a, b) => a.made - b.made);
  }

  siblings(node) {
    return this.children(node.parent);
  }

  // shows the branch through `node`: down to its newest end
  choose(node) {
    let end = node;
    for (let next = end; next; next = this.children(end.id).at(-1)) end = next;
    this.leaf = end.id;
  }

  parent(node) {
    return this.nodes[node.parent] ?? null;
  }

  fork(node) {
    const path = this.path(node.id);
    const nodes = Object.fromEntries(path.map((n) => [n.id, structuredClone(n)]));
    const settings = { ...this.settings };
    const made = Date.now();
    return new Conversation({ id: newId(), title: this.title, made, at: made, nodes, leaf: node.id, settings });
  }
}

export function conversations() {
  return read(LIST, []);
}

export function forget(id) {
  localStorage.removeItem(PREFIX + id);
  write(LIST, conversations().filter((c) => c.id !== id));
}

export function keepDefaults(settings) {
  write(DEFAULTS, settings);
}

// what the page itself remembers: theme, language, whether the list is open
export function kept(name) {
  try {
    return localStorage.getItem(`flashling.${name}`);
  } catch {
    return null;
  }
}

export function keep(name, value) {
  try {
    localStorage.setItem(`flashling.${name}`, value);
  } catch {
    // forbidden storage: it holds until the page closes
  }
}
