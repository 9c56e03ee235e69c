// The server's faces: streamed chat, models, metrics. A key, where one is asked for, lives in the tab.

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

async function ask(path, options = {}) {
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

// the data fields of a stream of server-sent events; comments keep the line alive and are dropped
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      if (line === "" && data.length) {
        yield data.join("\n");
        data = [];
      }
    }
  }
}

// chunks of one answer; ends at [DONE], throws Refused when the server breaks off
export async function* chat(request, signal) {
  const answer = await ask("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify(request),
    signal,
  });
  try {
    for await (const data of events(answer.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Refused(chunk.error.code ?? 500, chunk.error.message ?? "");
      yield chunk;
    }
  } catch (error) {
    if (error instanceof TypeError) throw new Refused(0, "");
    throw error;
  }
  throw new Refused(0, "");
}
