// Answers that run now, at most one a conversation; they go on while another one is shown.

import { Refused, chat } from "./api.js";
import { body, fold } from "./request.js";
import { say } from "./dom.js";
import { t } from "./words.js";

const running = new Map();
// a page that goes ends its requests: that is a stop, not a failure
let leaving = false;
addEventListener("beforeunload", () => (leaving = true));

export function runOf(conversation) {
  return running.get(conversation.id);
}

export function stop(conversation) {
  running.get(conversation.id)?.control.abort();
}

function settle(node, error, aborted) {
  node.calls = node.calls.filter(Boolean);
  if (aborted) node.state = "stopped";
  else if (error) {
    node.state = "failed";
    node.status = error.status ?? 0;
    node.error = error.message || t("offline");
  } else node.state = "done";
  say(t({ done: "answered", stopped: "stopped", failed: "failed" }[node.state]));
}

// Asks for the answer that follows `parent`. `changed(node)` is called when the node has grown and
// `ended(node)` once, when it stands.
export async function answer(conversation, parent, model, changed, ended) {
  const settings = conversation.settings;
  const path = conversation.path(parent.id);
  const node = conversation.add(parent, {
    role: "assistant", text: "", thought: "", calls: [], state: "running", form: settings.form, stats: {},
  });
  const control = new AbortController();
  running.set(conversation.id, { node, control });
  const stats = node.stats;
  const start = performance.now();
  let error = null;
  say(t("answering"));
  changed(node);
  try {
    for await (const chunk of chat(body(path, settings, model), control.signal)) {
      if (!fold(node, chunk)) continue;
      const now = performance.now();
      stats.first ??= now - start;
      stats.last = now - start;
      // chunks stand for tokens until the server has counted
      stats.chunks = (stats.chunks ?? 0) + 1;
      if (node.thought && !node.text && !node.calls.length) stats.thought = now - start;
      changed(node);
    }
  } catch (caught) {
    error = caught;
    if (!(caught instanceof Refused) && caught.name !== "AbortError") node.error = String(caught);
  }
  running.delete(conversation.id);
  settle(node, error, leaving || control.signal.aborted);
  conversation.at = Date.now();
  ended(node);
}

// tokens per second after the first token, or null while it cannot be told
export function speed(stats) {
  const tokens = stats.usage?.completion_tokens ?? stats.chunks ?? 0;
  const seconds = (stats.last - stats.first) / 1000;
  return tokens > 1 && seconds > 0.01 ? (tokens - 1) / seconds : null;
}
