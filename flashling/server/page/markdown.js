// Markdown to elements. Nothing here writes markup: what a model says becomes text nodes inside
// elements of a short list, links go to http, https and mailto alone, images become links.

import { h } from "./dom.js";
import { formula } from "./formula.js";

const FENCE = /^( {0,3})(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:\s(.*))?$/;
const RULE = /^ {0,3}([-*_])( *\1){2,} *$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])( +|$)/;
const QUOTE = /^ {0,3}> ?/;
const DELIMITER = /^ *\|? *:?-+:? *(\| *:?-+:? *)*\|? *$/;
const STARTS = [FENCE, HEADING, RULE, ITEM, QUOTE];
// Bounds on what a hostile text can cost: a longer paragraph stays plain, a longer line is no row of
// a table, and what is nested deeper is plain text.
const LONGEST = 6_000;
const ROW = 1_000;
const DEEPEST = 24;

function fence(lines, i) {
  const [, indent, mark, language] = FENCE.exec(lines[i]);
  const close = new RegExp(`^ {0,3}${mark[0]}{${mark.length},}\\s*$`);
  let end = i + 1;
  while (end < lines.length && !close.test(lines[end])) end++;
  const body = lines.slice(i + 1, end).map((l) => l.replace(new RegExp(`^ {0,${indent.length}}`), ""));
  const part = { kind: "fence", language: language.trim().split(/\s/)[0], text: body.join("\n") };
  return [{ ...part, closed: end < lines.length }, Math.min(end + 1, lines.length)];
}

function list(lines, i) {
  const [, indent, mark] = ITEM.exec(lines[i]);
  const ordered = /\d/.test(mark);
  const items = [];
  let loose = false;
  let blank = false;
  for (; i < lines.length; i++) {
    const line = lines[i];
    const start = ITEM.exec(line);
    const here = /^ */.exec(line)[0].length;
    if (!line.trim()) {
      blank = true;
      items.at(-1).lines.push("");
      continue;
    }
    if (start && here <= indent.length + 1 && /\d/.test(start[2]) === ordered && !RULE.test(line)) {
      loose ||= blank;
      const width = start[0].length - (start[3].length > 4 ? start[3].length - 1 : 0);
      items.push({ width: start[3] ? width : width + 1, lines: [line.slice(width)] });
    } else if (items.length && (here >= Math.min(items.at(-1).width, indent.length + 2))) {
      items.at(-1).lines.push(line.slice(Math.min(here, items.at(-1).width)));
    } else if (items.length && !blank && !STARTS.some((s) => s.test(line))) {
      items.at(-1).lines.push(line.trim());
    } else break;
    blank = false;
  }
  const first = ordered ? parseInt(mark, 10) : null;
  return [{ kind: "list", first, loose, items: items.map((x) => x.lines.join("\n").trimEnd()) }, i];
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((c) => c.trim().replace("\\|", "|"));
}

function isDelimiter(line) {
  return line.length < ROW && DELIMITER.test(line);
}

function table(lines, i) {
  let end = i + 2;
  while (end < lines.length && lines[end].includes("|") && lines[end].trim()) end++;
  const align = cells(lines[i + 1]).map((c) => (/:$/.test(c) ? (/^:/.test(c) ? "center" : "right") : ""));
  const rows = lines.slice(i + 2, end).map(cells);
  return [{ kind: "table", head: cells(lines[i]), align, rows }, end];
}

function block(lines, i) {
  const line = lines[i];
  if (FENCE.test(line)) return fence(lines, i);
  const heading = HEADING.exec(line);
  if (heading) return [{ kind: "heading", level: heading[1].length, text: (heading[2] ?? "").trim().replace(/(^|\s)#+$/, "") }, i + 1];
  if (RULE.test(line)) return [{ kind: "rule" }, i + 1];
  if (ITEM.test(line)) return list(lines, i);
  let end = i + 1;
  if (QUOTE.test(line)) {
    while (end < lines.length && lines[end].trim()) end++;
    const inside = lines.slice(i, end).map((l) => l.replace(QUOTE, ""));
    return [{ kind: "quote", text: inside.join("\n") }, end];
  }
  if (line.includes("|") && end < lines.length && isDelimiter(lines[end])) return table(lines, i);
  while (end < lines.length && lines[end].trim() && !STARTS.some((s) => s.test(lines[end]))) end++;
  return [{ kind: "text", text: lines.slice(i, end).join("\n").trim() }, end];
}

// the top-level parts of a text, each with the source it came from
export function blocks(source) {
  const lines = source.replaceAll("\r\n", "\n").replaceAll("\t", "    ").split("\n");
  const out = [];
  for (let i = 0; i < lines.length; ) {
    if (!lines[i].trim()) {
      i++;
      continue;
    }
    const [part, end] = block(lines, i);
    out.push({ ...part, source: lines.slice(i, end).join("\n") });
    i = end;
  }
  return out;
}

function link(address, children) {
  if (!/^(https?:\/\/|mailto:)/i.test(address)) return h("span", {}, children);
  return h("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, children);
}

function maths(text, block) {
  return formula(text, block) ?? h("span.formula", {}, text);
}

const INLINE = [
  [/`+/y, null],
  [/\\\[([\s\S]+?)\\\]|\$\$([\s\S]+?)\$\$/y, (m) => maths(m[1] ?? m[2], true)],
  // between single dollars only what looks like a formula: prices are no formulas
  [/\\\(([\s\S]+?)\\\)|\$(?=\S)((?:[^$\n]*[\\^_=][^$\n]*|[A-Za-z])(?<=\S))\$(?!\d)/y,
    (m) => maths(m[1] ?? m[2], false)],
  [/\\([!-/:-@[-`{-~])/y, (m) => m[1]],
  [/!\[([^\]\n]*)\]\(([^)\s]+)[^)\n]*\)/y, (m) => link(m[2], [m[1] || m[2]])],
  [/\[((?:[^[\]\n]|\[[^\]\n]*\])*)\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+"[^"\n]*")?\)/y,
    (m) => link(m[2], inline(m[1]))],
  [/<(https?:\/\/[^\s<>]+)>/y, (m) => link(m[1], [m[1]])],
  [/https?:\/\/[^\s<>"'`)\]]*[^\s<>"'`)\].,;:!?，。；：！？、）】]/y, (m) => link(m[0], [m[0]])],
  [/(\*\*|__)(?=\S)([\s\S]*?\S)\1/y, (m) => h("strong", {}, inline(m[2]))],
  [/(\*)(?=[^\s*])([\s\S]*?[^\s*])\*(?!\*)/y, (m) => h("em", {}, inline(m[2]))],
  [/(?<!\w)_(?=\S)([\s\S]*?\S)_(?!\w)/y, (m) => h("em", {}, inline(m[1]))],
  [/~~(?=\S)([\s\S]*?\S)~~/y, (m) => h("del", {}, inline(m[1]))],
  [/<br ?\/?>|\n/y, () => h("br")],
];

function code(text, at, mark) {
  const close = new RegExp(`(?<!\`)${mark}(?!\`)`, "g");
  close.lastIndex = at + mark.length;
  const end = close.exec(text);
  if (!end) return null;
  const inside = text.slice(at + mark.length, end.index).replace(/^ (.+) $/s, "$1");
  return [h("code", {}, inside), end.index + mark.length];
}

function one(text, at) {
  for (const [pattern, make] of INLINE) {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (!match) continue;
    if (!make) return code(text, at, match[0]) ?? [match[0], at + match[0].length];
    return [make(match), at + match[0].length];
  }
  return [text[at], at + 1];
}

// the text of one paragraph as nodes
export function inline(text) {
  if (text.length > LONGEST) return [text];
  const out = [];
  const special = /[`\\![*_~<\n$]|https?:/g;
  let at = 0;
  while (at < text.length) {
    special.lastIndex = at;
    const next = special.exec(text)?.index ?? text.length;
    if (next > at) out.push(text.slice(at, next));
    if (next === text.length) break;
    const [node, end] = one(text, next);
    out.push(node);
    at = end;
  }
  return out;
}

function nested(text, depth) {
  return depth < DEEPEST ? blocks(text) : [{ kind: "text", text }];
}

function item(text, loose, code, depth) {
  const task = /^\[([ xX])\] /.exec(text);
  const parts = nested(task ? text.slice(4) : text, depth);
  const inside = parts.map((p) => (p.kind === "text" && !loose
    ? h("span", {}, inline(p.text)) : element(p, code, depth + 1)));
  const box = task && h("input", { type: "checkbox", disabled: true, checked: task[1] !== " " });
  return h("li", task ? { class: "task" } : {}, box, inside);
}

function grid(part) {
  const cell = (tag) => (text, i) => h(tag, part.align[i] ? { class: part.align[i] } : {}, inline(text));
  const body = part.rows.map((row) => h("tr", {}, row.map(cell("td"))));
  return h("div.table", { tabindex: "0" },
    h("table", {}, h("thead", {}, h("tr", {}, part.head.map(cell("th")))), h("tbody", {}, body)));
}

function element(part, code, depth = 0) {
  switch (part.kind) {
    case "fence": return code(part);
    // an answer's headings stand below the page's own
    case "heading": return h(`h${Math.min(part.level + 1, 6)}`, {}, inline(part.text));
    case "rule": return h("hr");
    case "quote": return h("blockquote", {}, nested(part.text, depth).map((p) => element(p, code, depth + 1)));
    case "table": return grid(part);
    case "list": {
      const props = part.first !== null && part.first !== 1 ? { start: part.first } : {};
      const items = part.items.map((x) => item(x, part.loose, code, depth));
      return h(part.first === null ? "ul" : "ol", props, items);
    }
    default: return h("p", {}, inline(part.text));
  }
}

// Shows a growing text: parts that did not change keep their elements, an open code block is
// updated in place. `code(part)` makes the element of a code block; it may have `update(part)`.
export class Markdown {
  constructor(root, code) {
    this.root = root;
    this.code = code;
    this.parts = [];
  }

  show(source) {
    const parts = blocks(source);
    let same = 0;
    while (same < parts.length && parts[same].source === this.parts[same]?.source) {
      parts[same].node = this.parts[same].node;
      same++;
    }
    const old = this.parts[same];
    const open = parts[same];
    if (open?.kind === "fence" && old?.kind === "fence" && old.node.update && open.language === old.language) {
      old.node.update(open);
      open.node = old.node;
      same++;
    }
    for (const part of this.parts.slice(same)) part.node.remove();
    for (const part of parts.slice(same)) {
      part.node = element(part, this.code);
      this.root.append(part.node);
    }
    this.parts = parts;
  }
}
