// The engine, live: what runs, how fast, where prompts came from, and how well it guesses.

import { metrics } from "./api.js";
import { h } from "./dom.js";
import { bytes, compact, percent, time } from "./figures.js";
import { parse, quantile, rate, read } from "./metrics.js";
import { bar, curves, legend } from "./plot.js";
import { t } from "./words.js";

const EVERY = 1000;
const SPAN = 120;
const SHORTEST = 40;
// the readings a current rate is taken over
const RECENT = 4;
const TIERS = ["device", "host", "disk"];
const KINDS = ["first", "third", "fourth"];
const named = (tier) => TIERS.includes(tier) ? t(tier) : tier;

export class Engine {
  // refused(error): the server did not answer
  constructor(refused) {
    this.refused = refused;
    this.readings = [];
    this.root = h("div.engine");
  }

  start() {
    this.timer ??= setInterval(() => this.poll(), EVERY);
    this.draw();
    this.poll();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
  }

  async poll() {
    if (document.hidden || this.asking) return;
    this.asking = true;
    try {
      const reading = read(parse(await metrics()), performance.now());
      this.readings = [...this.readings, reading].slice(-SPAN - RECENT);
      this.broken = false;
    } catch (error) {
      this.broken = true;
      if (error.status === 401) {
        this.stop();
        this.refused(() => this.start());
      }
    }
    this.asking = false;
    if (this.timer) this.draw();
  }

  // a rate or share at each reading, over the few before it
  series(of) {
    const all = this.readings;
    return all.map((now, i) => (i ? of(now, all[Math.max(0, i - RECENT)]) : null)).slice(1).slice(-SPAN);
  }

  // a young view is stretched, so that its curves can be seen
  get span() {
    return Math.min(SPAN, Math.max(SHORTEST, this.readings.length));
  }

  draw() {
    const now = this.readings.at(-1);
    const head = h("header", {}, h("h1", {}, t("engine")),
      h("span", { class: this.broken ? "live broken" : "live" }, t(this.broken ? "offline" : "live")));
    if (!now) {
      this.root.replaceChildren(head, h("p.note", {}, t("noEngine")));
      return;
    }
    this.root.replaceChildren(head, this.figures(now), h("div.panels", {}, this.speed(), this.load(),
      this.sources(now), this.tiers(now), this.drafts(), this.misses(now)));
  }

  figures(now) {
    const before = this.readings.at(-1 - RECENT) ?? this.readings[0];
    const early = this.readings[0];
    const one = (value, name) => h("div", {}, h("dd", {}, value), h("dt", {}, name));
    return h("dl.figures", {},
      one(compact(now.running), t("running")),
      one(compact(now.waiting), t("queued")),
      one(compact(rate(now, before, "generated")), t("speed")),
      one(time(quantile(now.first, early.first, 0.5)), t("ttft")),
      one(time(quantile(now.each, early.each, 0.5)), t("perToken")),
      one(percent(now.cached, now.prompt), t("hitShare")));
  }

  panel(title, aside, ...inside) {
    return h("section", {}, h("h2", {}, title, aside && h("small", {}, aside)), inside);
  }

  speed() {
    const out = this.series((a, b) => rate(a, b, "generated"));
    const prompt = this.series((a, b) => {
      const [all, cached] = [rate(a, b, "prompt"), rate(a, b, "cached")];
      return all === null ? null : Math.max(0, all - (cached ?? 0));
    });
    const series = [
      { name: t("prefilled"), values: prompt, kind: "second", value: compact(prompt.at(-1)) },
      { name: t("generated"), values: out, kind: "first", fill: true, value: compact(out.at(-1)) },
    ];
    const panel = this.panel(t("throughput"), t("seconds", { n: this.span }),
      curves(series, { span: this.span, height: 200, label: t("throughput") }), legend(series.toReversed()));
    panel.className = "wide";
    return panel;
  }

  load() {
    const recent = this.readings.slice(-SPAN);
    const series = [
      { name: t("queued"), values: recent.map((r) => r.waiting), kind: "second", value: compact(recent.at(-1).waiting) },
      { name: t("running"), values: recent.map((r) => r.running), kind: "first", fill: true, value: compact(recent.at(-1).running) },
    ];
    return this.panel(t("load"), "", curves(series, { span: this.span, label: t("load") }), legend(series.toReversed()));
  }

  sources(now) {
    const parts = Object.entries(now.cachedBy).filter(([, v]) => v > 0)
      .sort((a, b) => TIERS.indexOf(a[0]) - TIERS.indexOf(b[0]))
      .map(([tier, value]) => ({ name: named(tier) || t("fromCache"), value, kind: KINDS[TIERS.indexOf(tier)] ?? "fourth" }));
    const computed = Math.max(0, (now.prompt ?? 0) - (now.cached ?? 0));
    parts.push({ name: t("computed"), value: computed, kind: "rest" });
    for (const p of parts) p.text = compact(p.value);
    return this.panel(t("cache"), t("total"), now.prompt ? bar(parts) : h("p.note", {}, t("noData")),
      legend(parts.map((p) => ({ ...p, value: p.text }))));
  }

  tiers(now) {
    const names = [...new Set([...TIERS, ...Object.keys(now.used), ...Object.keys(now.hits)])]
      .filter((n) => n && (n in now.used || n in now.hits));
    const rows = names.map((name) => {
      const meter = h("div.meter", {}, h("span"));
      const limit = now.limit[name];
      meter.firstChild.style.width = limit ? `${Math.min(100, (100 * (now.used[name] ?? 0)) / limit)}%` : "0";
      const size = name in now.used ? bytes(now.used[name]) + (limit ? ` / ${bytes(limit)}` : "") : "";
      return h("tr", {}, h("th", { scope: "row" }, named(name)), h("td", {}, limit ? meter : ""), h("td", {}, size),
        h("td", {}, name in now.hits ? `${compact(now.hits[name])} ${t("hits")}` : ""));
    });
    return this.panel(t("tiers"), "", rows.length ? h("table", {}, h("tbody", {}, rows)) : h("p.note", {}, t("noData")));
  }

  drafts() {
    const values = this.series((a, b) => {
      const drafted = rate(a, b, "drafted");
      return drafted ? Math.min(100, (100 * rate(a, b, "accepted")) / drafted) : null;
    });
    const last = values.findLast((v) => v !== null);
    const series = [{ name: t("accepted"), values, kind: "first", value: last === undefined ? "–" : `${Math.round(last)} %` }];
    return this.panel(t("acceptance"), "", curves(series, { span: this.span, top: 100, unit: " %", label: t("acceptance") }),
      legend(series));
  }

  misses(now) {
    const list = Object.entries(now.misses).filter(([, v]) => v > 0).sort((a, b) => b[1] - a[1]);
    const most = list[0]?.[1];
    const rows = list.map(([reason, value]) => {
      const meter = h("div.meter.second", {}, h("span"));
      meter.firstChild.style.width = `${(100 * value) / most}%`;
      return h("tr", {}, h("th", { scope: "row" }, reason), h("td", {}, meter), h("td", {}, compact(value)));
    });
    return this.panel(t("misses"), t("total"), rows.length ? h("table", {}, h("tbody", {}, rows)) : h("p.note", {}, t("noData")));
  }
}
