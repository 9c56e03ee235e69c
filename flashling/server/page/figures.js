// Numbers as they are shown.

import { language } from "./words.js";

const UNITS = [[1, "second"], [60, "minute"], [3600, "hour"], [86_400, "day"]];

export function compact(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value >= 1e4) return Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
  if (value >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
  return value.toFixed(1);
}

export function time(seconds) {
  if (seconds === null) return "–";
  return seconds < 1 ? `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms` : `${seconds.toFixed(2)} s`;
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (value >= 1024 && i < units.length - 1) [value, i] = [value / 1024, i + 1];
  return `${value >= 100 || !i ? Math.round(value) : value.toFixed(1)} ${units[i]}`;
}

export function percent(part, whole) {
  return whole > 0 ? `${Math.round((100 * part) / whole)} %` : "–";
}

// seconds since the epoch as "3 minutes ago"
export function ago(at) {
  const words = new Intl.RelativeTimeFormat(language(), { numeric: "auto" });
  const past = Math.max(0, Date.now() / 1000 - at);
  const [size, unit] = UNITS.findLast(([seconds]) => past >= seconds || seconds === 1);
  return words.format(-Math.floor(past / size), unit);
}
