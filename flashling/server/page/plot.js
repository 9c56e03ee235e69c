// Small drawings for the engine view, as SVG that a style sheet colours.

import { h, svg } from "./dom.js";

const WIDTH = 600;

// a round number at or above a value, whose half is round too
export function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 2, 4, 6, 10].map((m) => m * power).find((m) => m >= value * 0.999);
}

function line(values, top, span, height) {
  const step = WIDTH / (span - 1);
  const start = span - values.length;
  let out = "";
  let pen = "M";
  values.forEach((v, i) => {
    if (v === null) {
      pen = "M";
      return;
    }
    const y = height - (Math.min(v, top) / top) * (height - 8);
    out += `${pen}${((start + i) * step).toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  });
  return out;
}

// Curves of series [{name, values, kind}], newest at the right; `span` readings are as wide as the plot.
export function curves(series, { span, height = 160, top, unit = "", label }) {
  const seen = series.flatMap((s) => s.values).filter((v) => v !== null);
  const high = top ?? ceiling(Math.max(2, ...seen));
  const box = { viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label };
  const grid = [0.5, 1].map((part) => {
    const y = height - part * (height - 8);
    return svg("path", { class: "grid", d: `M0 ${y}H${WIDTH}` });
  });
  const drawn = series.map((s) => {
    const path = line(s.values, high, span, height);
    const first = WIDTH - (s.values.length - 1) * (WIDTH / (span - 1));
    const whole = s.values.every((v) => v !== null) && s.values.length > 1;
    const area = whole && s.fill && svg("path", {
      class: `area ${s.kind}`, d: `${path}L${WIDTH} ${height}L${first.toFixed(1)} ${height}Z`,
    });
    return [area, svg("path", { class: `line ${s.kind}`, d: path })];
  });
  const marks = [1, 0.5].map((part) => h("span", {}, `${+(high * part).toPrecision(3)}${unit}`));
  return h("div.plot", {}, svg("svg", box, grid, drawn), h("div.marks", { "aria-hidden": "true" }, marks));
}

export function legend(series) {
  return h("ul.legend", {}, series.map((s) => h("li", { class: s.kind }, h("i"), s.name,
    s.value !== undefined && h("b", {}, s.value))));
}

// parts of a whole as one bar: [{name, value, text, kind}]
export function bar(parts) {
  const all = parts.reduce((sum, p) => sum + p.value, 0);
  const shown = parts.filter((p) => p.value > 0);
  const node = h("div.share", { role: "img", "aria-label": parts.map((p) => `${p.name} ${p.text}`).join(", ") },
    shown.map((p) => h("span", { class: p.kind })));
  shown.forEach((p, i) => (node.children[i].style.flexGrow = String(p.value / all)));
  return node;
}
