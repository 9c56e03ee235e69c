// Formulas in TeX's notation to MathML, as far as answers use it; what is not known stays as text.

const NAMESPACE = "http://www.w3.org/1998/Math/MathML";
// a formula longer than this is shown as it was written
const LONGEST = 2_000;
const DEEPEST = 40;

const LETTERS = {
  alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ϵ", varepsilon: "ε", zeta: "ζ", eta: "η", theta: "θ",
  iota: "ι", kappa: "κ", lambda: "λ", mu: "μ", nu: "ν", xi: "ξ", pi: "π", rho: "ρ", sigma: "σ", tau: "τ", phi: "ϕ",
  varphi: "φ", chi: "χ", psi: "ψ", omega: "ω", Gamma: "Γ", Delta: "Δ", Theta: "Θ", Lambda: "Λ", Xi: "Ξ", Pi: "Π",
  Sigma: "Σ", Phi: "Φ", Psi: "Ψ", Omega: "Ω", infty: "∞", partial: "∂", nabla: "∇", ell: "ℓ", hbar: "ℏ", emptyset: "∅",
  top: "⊤", bot: "⊥",
};
const SIGNS = {
  times: "×", cdot: "⋅", div: "÷", pm: "±", mp: "∓", le: "≤", leq: "≤", ge: "≥", geq: "≥", ne: "≠", neq: "≠",
  approx: "≈", equiv: "≡", sim: "∼", propto: "∝", in: "∈", notin: "∉", subset: "⊂", subseteq: "⊆", cup: "∪",
  cap: "∩", to: "→", rightarrow: "→", leftarrow: "←", Rightarrow: "⇒", implies: "⟹", iff: "⟺", mapsto: "↦",
  forall: "∀", exists: "∃", neg: "¬", land: "∧", lor: "∨", ldots: "…", cdots: "⋯", dots: "…", circ: "∘", odot: "⊙",
  otimes: "⊗", oplus: "⊕", mid: "∣", langle: "⟨", rangle: "⟩", lfloor: "⌊", rfloor: "⌋", lceil: "⌈", rceil: "⌉",
  ll: "≪", gg: "≫", ast: "∗", prime: "′", "|": "‖", "{": "{", "}": "}", "%": "%", _: "_", "#": "#", "&": "&", $: "$",
};
const BIG = { sum: "∑", prod: "∏", int: "∫", oint: "∮", bigcup: "⋃", bigcap: "⋂" };
const WORDS = "log ln exp sin cos tan max min arg argmax argmin lim det softmax sup inf gcd dim ker Pr".split(" ");
const UNDER = new Set(["max", "min", "argmax", "argmin", "lim", "sup", "inf"]);
const SPACES = { ",": "0.17em", ":": "0.22em", ";": "0.28em", quad: "1em", qquad: "2em", " ": "0.25em", "!": "0" };
const OVER = { hat: "^", bar: "¯", overline: "¯", tilde: "~", vec: "→", dot: "˙", widehat: "^" };
const FACES = { mathbf: "bold", boldsymbol: "bold", mathbb: "double-struck", mathcal: "script", mathrm: "normal" };
const BLACKBOARD = { R: "ℝ", N: "ℕ", Z: "ℤ", Q: "ℚ", C: "ℂ", E: "𝔼", P: "ℙ" };

function m(tag, props = {}, ...children) {
  const node = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function tokens(text) {
  return text.match(/\\[A-Za-z]+|\\[\s\S]|[{}^_&]|\d+(?:\.\d+)?|[^\s]/g) ?? [];
}

class Reader {
  constructor(text) {
    this.tokens = tokens(text);
    this.at = 0;
    this.depth = 0;
  }

  // all up to a closing token, with what stands above and below set there
  row(end) {
    if (++this.depth > DEEPEST) throw new RangeError("too deep");
    const out = [];
    while (this.at < this.tokens.length && !end.includes(this.tokens[this.at])) {
      out.push(this.scripts(this.atom()));
    }
    this.depth--;
    return m("mrow", {}, ...out);
  }

  scripts(base) {
    let below = null;
    let above = null;
    for (;;) {
      const next = this.tokens[this.at];
      if (next === "_" && !below) below = (this.at++, this.argument());
      else if (next === "^" && !above) above = (this.at++, this.argument());
      else break;
    }
    const limits = base.limits ? ["munder", "mover", "munderover"] : ["msub", "msup", "msubsup"];
    if (below && above) return m(limits[2], {}, base, below, above);
    if (below) return m(limits[0], {}, base, below);
    return above ? m(limits[1], {}, base, above) : base;
  }

  argument() {
    if (this.tokens[this.at] !== "{") return this.atom();
    this.at++;
    const row = this.row(["}"]);
    this.at++;
    return row;
  }

  words() {
    const start = ++this.at;
    while (this.at < this.tokens.length && this.tokens[this.at] !== "}") this.at++;
    return this.tokens.slice(start, this.at++).join(" ");
  }

  atom() {
    const token = this.tokens[this.at++];
    if (token === undefined) return m("mrow");
    if (token === "{") {
      this.at--;
      return this.argument();
    }
    if (token[0] === "\\") return this.command(token.slice(1));
    if (/^\d/.test(token)) return m("mn", {}, token);
    if (/^\p{L}$/u.test(token)) return m("mi", {}, token);
    return m("mo", /[()[\]|]/.test(token) ? { stretchy: "false" } : {}, token === "-" ? "−" : token);
  }

  command(name) {
    if (name in LETTERS) return m("mi", {}, LETTERS[name]);
    if (name in SIGNS) return m("mo", { stretchy: "false" }, SIGNS[name]);
    if (name in SPACES) return m("mspace", { width: SPACES[name] });
    if (name in BIG) return Object.assign(m("mo", { largeop: "true" }, BIG[name]), { limits: !/int/.test(name) });
    if (WORDS.includes(name)) return Object.assign(m("mi", {}, name), { limits: UNDER.has(name) });
    if (name in OVER) return m("mover", { accent: "true" }, this.argument(), m("mo", {}, OVER[name]));
    if (/^[dt]?frac$/.test(name)) return m("mfrac", {}, this.argument(), this.argument());
    if (name === "sqrt") return m("msqrt", {}, this.argument());
    if (/^(text|textbf|textit|mathrm|operatorname|mathsf)$/.test(name) && this.tokens[this.at] === "{") {
      return m("mtext", {}, this.words());
    }
    if (name in FACES) return this.face(FACES[name]);
    if (/^(left|right|big|Big|bigg|Bigg)[lr]?$/.test(name)) {
      const sign = this.tokens[this.at++] ?? "";
      return m("mo", {}, sign === "." ? "" : (SIGNS[sign.slice(1)] ?? sign));
    }
    return m("mtext", {}, `\\${name}`);
  }

  face(kind) {
    const inside = this.argument();
    if (kind === "double-struck" && BLACKBOARD[inside.textContent]) return m("mi", {}, BLACKBOARD[inside.textContent]);
    inside.setAttribute("class", `face-${kind}`);
    return inside;
  }
}

// a <math> element; null where the text cannot be read, and is better shown as it stands
export function formula(text, block) {
  if (text.length > LONGEST || /\\begin|\\\\/.test(text)) return null;
  try {
    const reader = new Reader(text);
    const row = reader.row([]);
    return m("math", block ? { display: "block" } : {}, row);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}
