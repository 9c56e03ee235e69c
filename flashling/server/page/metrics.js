// Prometheus text to numbers, and numbers to what the engine view shows.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /(\w+)="((?:\\.|[^"\\])*)"/g;
// what each figure is called by the server
export const NAMES = {
  running: "flashling_requests_running",
  waiting: "flashling_requests_waiting",
  prompt: "flashling_prompt_tokens_total",
  cached: "flashling_cached_tokens_total",
  generated: "flashling_generation_tokens_total",
  drafted: "flashling_draft_tokens_total",
  accepted: "flashling_draft_accepted_total",
  hits: "flashling_cache_hits_total",
  misses: "flashling_cache_misses_total",
  used: "flashling_cache_bytes",
  limit: "flashling_cache_limit_bytes",
  first: "flashling_time_to_first_token_seconds",
  each: "flashling_time_per_output_token_seconds",
};

// [{name, labels, value}] of an exposition
export function parse(text) {
  const out = [];
  for (const line of text.split("\n")) {
    const match = line[0] === "#" ? null : LINE.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(LABEL)].map((m) => [m[1], m[2]]));
    out.push({ name: match[1], labels, value: Number(match[3].replace("Inf", "Infinity")) });
  }
  return out;
}

// one reading: totals, and by label for the cache; null for what the server does not tell
export function read(samples, now) {
  const of = (name) => samples.filter((s) => s.name === NAMES[name]);
  const total = (name) => {
    const all = of(name);
    return all.length ? all.reduce((sum, s) => sum + s.value, 0) : null;
  };
  const by = (name, label) => {
    const out = {};
    for (const s of of(name)) out[s.labels[label] ?? ""] = (out[s.labels[label] ?? ""] ?? 0) + s.value;
    return out;
  };
  const names = ["running", "waiting", "prompt", "cached", "generated", "drafted", "accepted"];
  return {
    at: now,
    ...Object.fromEntries(names.map((n) => [n, total(n)])),
    cachedBy: by("cached", "tier"), hits: by("hits", "tier"), misses: by("misses", "reason"),
    used: by("used", "tier"), limit: by("limit", "tier"),
    first: buckets(samples, NAMES.first), each: buckets(samples, NAMES.each),
  };
}

function buckets(samples, name) {
  const sums = new Map();
  for (const s of samples) {
    if (s.name !== `${name}_bucket`) continue;
    const le = s.labels.le === "+Inf" ? Infinity : Number(s.labels.le);
    sums.set(le, (sums.get(le) ?? 0) + s.value);
  }
  return [...sums].sort((a, b) => a[0] - b[0]);
}

// a quantile of what a histogram took between two readings; of all it took if that is nothing
export function quantile(now, before, q) {
  const early = new Map(before ?? []);
  let counts = now.map(([le, n]) => [le, n - (early.get(le) ?? 0)]);
  if (!counts.length) return null;
  if (counts.at(-1)[1] <= 0) counts = now;
  const goal = q * counts.at(-1)[1];
  if (!goal) return null;
  let [low, below] = [0, 0];
  for (const [le, n] of counts) {
    if (n >= goal) return le === Infinity ? low : low + ((le - low) * (goal - below)) / (n - below || 1);
    [low, below] = [le, n];
  }
  return low;
}

// how much a counter grew each second; a restart counts from nothing
export function rate(now, before, name) {
  if (!before || now[name] === null || before[name] === null) return null;
  const grown = now[name] >= before[name] ? now[name] - before[name] : now[name];
  return grown / Math.max((now.at - before.at) / 1000, 0.001);
}
