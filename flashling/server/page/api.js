// The server's faces but its streams. A key, where one is asked for, lives in the tab.

const KEY = "flashling.key";

let held = "";

export function key() {
  try {
    return sessionStorage.getItem(KEY) ?? held;
  } catch {
    return held;
  }
}

export function useKey(value) {
  held = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // forbidden storage: the key holds until the page closes
  }
}

// what the server refused, with its HTTP status; 0 when it was not reached
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (key()) headers.Authorization = `Bearer ${key()}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "");
  }
  if (answer.ok) return answer;
  const text = await answer.text();
  let message = text.slice(0, 400);
  try {
    message = JSON.parse(text).error?.message ?? message;
  } catch {
    // not our encoder's answer: shown as it is
  }
  throw new Refused(answer.status, `${answer.status} · ${message}`);
}

export async function models() {
  const answer = await (await ask("/v1/models")).json();
  return answer.data.map((m) => m.id);
}

export async function metrics(signal) {
  return (await ask("/metrics", { signal })).text();
}

export function post(path, body, options = {}) {
  const headers = { "Content-Type": "application/json", ...options.headers };
  return ask(path, { ...options, method: "POST", headers, body: JSON.stringify(body) });
}

// the parked sessions of this key, the last used first
export async function sessions() {
  return (await (await ask("/v1/sessions")).json()).data;
}

const session = (id) => `/v1/sessions/${encodeURIComponent(id)}`;

export const forkSession = (id, to) => post(`${session(id)}/fork`, { to });
export const parkSession = (id) => post(`${session(id)}/park`, {});
export const deleteSession = (id) => ask(session(id), { method: "DELETE" });

// what of one or two requests' prompts is held, and where two part
export async function explain(prompts) {
  return (await post("/v1/cache/explain", { prompts })).json();
}

// ends the request that was sent under this id
export const cancel = (id) => post(`/v1/requests/${encodeURIComponent(id)}/cancel`, {});
