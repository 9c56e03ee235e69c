// Colours for code: one regular expression a language, groups named by what they colour.

const WORDS = {
  c: "auto break case catch char class const continue default delete do double else enum extern " +
    "false final float for fn func go if impl import in int interface let long loop match mod mut " +
    "namespace new nil null nullptr package private protected pub public return self short signed " +
    "sizeof static struct super switch template this throw trait true try type typedef union " +
    "unsafe unsigned use using var virtual void where while",
  js: "async await break case catch class const continue default delete do else export extends " +
    "false finally for from function if import in instanceof interface let new null of return " +
    "static super switch this throw true try type typeof undefined var void while yield",
  py: "and as assert async await break case class continue def del elif else except False finally " +
    "for from global if import in is lambda match None nonlocal not or pass raise return self " +
    "True try while with yield",
  sh: "case do done elif else esac export fi for function if in local return set then until while",
  sql: "add all alter and as asc between by case create delete desc distinct drop else end exists " +
    "from group having in index inner insert into is join key left like limit not null offset on " +
    "or order outer primary right select set table then union unique update values when where with",
};
const NUMBER = String.raw`(?<n>\b(?:0x[\da-fA-F_]+|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\b)`;
const QUOTED = String.raw`"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?`;
const CALL = String.raw`(?<f>\b[A-Za-z_]\w*(?=\())`;

function words(name) {
  return String.raw`(?<k>\b(?:${WORDS[name].split(" ").join("|")})\b)`;
}

function rule(comment, string, name, flags = "g") {
  const parts = [`(?<c>${comment})`, `(?<s>${string})`, words(name), NUMBER, CALL];
  return new RegExp(parts.join("|"), flags);
}

const BLOCK = String.raw`//[^\n]*|/\*[\s\S]*?(?:\*/|$)`;
const RULES = {
  c: rule(BLOCK, QUOTED, "c"),
  js: rule(BLOCK, QUOTED + "|`(?:\\\\[\\s\\S]|[^`\\\\])*`?", "js"),
  py: rule("#[^\\n]*", `"""[\\s\\S]*?(?:"""|$)|'''[\\s\\S]*?(?:'''|$)|${QUOTED}`, "py"),
  sh: rule(String.raw`(?<=^|\s)#[^\n]*`, QUOTED, "sh", "gm"),
  sql: rule(String.raw`--[^\n]*|/\*[\s\S]*?(?:\*/|$)`, QUOTED, "sql", "gi"),
  json: new RegExp(
    String.raw`(?<f>"(?:\\.|[^"\\])*"(?=\s*:))|(?<s>"(?:\\.|[^"\\])*"?)|` +
    String.raw`(?<k>\b(?:true|false|null)\b)|(?<n>-?\b\d[\d.]*(?:[eE][+-]?\d+)?\b)`, "g"),
  html: new RegExp(
    String.raw`(?<c><!--[\s\S]*?(?:-->|$))|(?<k></?[A-Za-z][\w-]*)|` +
    String.raw`(?<f>(?<=\s)[\w:@-]+(?==["']))|(?<s>(?<==)(?:"[^"]*"?|'[^']*'?))`, "g"),
  css: new RegExp(
    String.raw`(?<c>/\*[\s\S]*?(?:\*/|$))|(?<s>"[^"\n]*"|'[^'\n]*')|(?<f>(?<![\w-])[\w-]{1,60}(?=:[^{};\n]{0,200}[;}\n]))|` +
    String.raw`(?<k>@[\w-]+|[.#][A-Za-z][\w-]*(?=[^;}]{0,200}\{))|(?<n>-?\b\d[\d.]*(?:[a-z]+|%)?)`, "g"),
  diff: /(?<s>^\+[^\n]*)|(?<c>^-[^\n]*)|(?<k>^@@[^\n]*)/gm,
};
const SAME = {
  python: "py", python3: "py", javascript: "js", typescript: "js", ts: "js", jsx: "js", tsx: "js",
  bash: "sh", shell: "sh", zsh: "sh", console: "sh", toml: "sh", yaml: "sh", yml: "sh", xml: "html",
  svg: "html", vue: "html", jsonc: "json", cpp: "c", "c++": "c", h: "c", cuda: "c", java: "c",
  go: "c", rust: "c", rs: "c", swift: "c", kotlin: "c", csharp: "c", cs: "c", scss: "css",
  patch: "diff", postgresql: "sql", mysql: "sql",
};
const KINDS = { c: "comment", s: "string", k: "word", n: "number", f: "name" };
// past this length colours cost more than they tell
const LONGEST = 60_000;

// scripts and styles inside a page have the colours of their own language
const INSIDE = /(?<=<(script|style)\b[^>]*>)[\s\S]*?(?=<\/\1|$)/gi;

function page(code) {
  const out = document.createDocumentFragment();
  let at = 0;
  for (const match of code.matchAll(INSIDE)) {
    out.append(colour(code.slice(at, match.index), RULES.html));
    out.append(colour(match[0], match[1].toLowerCase() === "style" ? RULES.css : RULES.js));
    at = match.index + match[0].length;
  }
  out.append(colour(code.slice(at), RULES.html));
  return out;
}

// a fragment with the code in coloured spans; plain where the language is not known
export function highlight(code, language) {
  const name = language.toLowerCase();
  const known = SAME[name] ?? name;
  if (known === "html" && code.length <= LONGEST) return page(code);
  return colour(code, RULES[known]);
}

function colour(code, pattern) {
  const out = document.createDocumentFragment();
  let at = 0;
  if (pattern && code.length <= LONGEST) {
    for (const match of code.matchAll(pattern)) {
      const [kind, text] = Object.entries(match.groups).find(([, value]) => value !== undefined);
      if (!text) continue;
      out.append(code.slice(at, match.index));
      const span = document.createElement("span");
      span.className = `code-${KINDS[kind]}`;
      span.textContent = text;
      out.append(span);
      at = match.index + match[0].length;
    }
  }
  out.append(code.slice(at));
  return out;
}
