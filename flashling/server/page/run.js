// Answers that run now, at most one a conversation. They go on while another one is shown, and are
// taken up again where the connection or the page was lost.

import { Refused, cancel } from "./api.js";
import { say } from "./dom.js";
import { body, fold } from "./request.js";
import { newId } from "./store.js";
import { begin, resume } from "./stream.js";
import { t } from "./words.js";

// milliseconds before each try to find a stream again; the server keeps one for 30 s
const WAITS = [0, 500, 1000, 2000, 4000, 8000, 8000];
const running = new Map();
// a page that goes leaves its answers as they stand: who comes back takes them up
let leaving = false;
addEventListener("beforeunload", () => (leaving = true));

export function runOf(conversation) {
  return running.get(conversation.id);
}

export function stop(conversation) {
  const run = running.get(conversation.id);
  if (!run) return;
  run.control.abort();
  // the server would go on for one who was cut off
  cancel(run.node.stream.call).catch(() => {});
}

function pause(wait, signal) {
  return new Promise((done, fail) => {
    const timer = setTimeout(done, wait);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      fail(signal.reason);
    });
  });
}

// [number, chunk] of an answer; where the connection is lost, the rest is asked for
async function* chunks(node, request, signal, changed) {
  const { stream } = node;
  let source = request ? begin(request, stream, signal) : resume(stream, signal);
  for (let tries = 0; ; tries += 1) {
    try {
      for await (const found of source) {
        tries = 0;
        node.lost = false;
        yield found;
      }
      return;
    } catch (error) {
      const isCut = error instanceof Refused && error.status === 0;
      if (!isCut || !stream.id || tries === WAITS.length) throw error;
    }
    node.lost = true;
    changed(node);
    await pause(WAITS[tries], signal);
    source = resume(stream, signal);
  }
}

function settle(node, error, aborted) {
  node.calls = node.calls.filter(Boolean);
  delete node.lost;
  delete node.stream;
  if (aborted) node.state = "stopped";
  else if (error) {
    node.state = "failed";
    node.status = error.status ?? 0;
    node.error = [404, 410].includes(error.status) ? t("lost") : error.message || t("offline");
  } else node.state = "done";
  say(t({ done: "answered", stopped: "stopped", failed: "failed" }[node.state]));
}

// `request()` is the body to send; without it the rest of a kept stream is taken up
async function run(conversation, node, request, { changed, ended }) {
  const control = new AbortController();
  running.set(conversation.id, { node, control });
  const { stats } = node;
  let error = null;
  say(t("answering"));
  changed(node);
  try {
    for await (const [number, chunk] of chunks(node, request?.(), control.signal, changed)) {
      node.stream.last = number;
      if (!fold(node, chunk)) continue;
      const now = Date.now() - node.made;
      stats.first ??= now;
      stats.last = now;
      // chunks stand for tokens until the server has counted
      stats.chunks = (stats.chunks ?? 0) + 1;
      if (node.thought && !node.text && !node.calls.length) stats.thought = now;
      changed(node);
    }
  } catch (caught) {
    error = caught;
  }
  running.delete(conversation.id);
  if (leaving && error) return;
  settle(node, error, control.signal.aborted);
  conversation.at = Date.now();
  ended(node);
}

// Asks for the answer that follows `parent`. `changed(node)` is called when the node has grown and
// `ended(node)` once, when it stands.
export function answer(conversation, parent, model, watch) {
  const { settings } = conversation;
  const path = conversation.path(parent.id);
  const { system, tools, choice, thinking } = settings;
  const node = conversation.add(parent, {
    role: "assistant", text: "", thought: "", calls: [], state: "running", form: settings.form, stats: {},
    asked: { system, tools, choice, thinking }, stream: { call: newId() },
  });
  // under the conversation's name its past is held for the next turn
  const request = () => ({ ...body(path, settings, model), session_id: conversation.id });
  run(conversation, node, request, watch);
}

// goes on with an answer that was running when the page was left, if there is one
export function takeUp(conversation, watch) {
  const node = Object.values(conversation.nodes).find((n) => n.state === "running");
  if (!node || runOf(conversation)) return;
  node.lost = true;
  run(conversation, node, null, watch);
}

// tokens per second after the first token, or null while it cannot be told
export function speed(stats) {
  const tokens = stats.usage?.completion_tokens ?? stats.chunks ?? 0;
  const seconds = (stats.last - stats.first) / 1000;
  return tokens > 1 && seconds > 0.01 ? (tokens - 1) / seconds : null;
}
