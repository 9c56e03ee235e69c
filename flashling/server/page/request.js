// From a conversation to the body of a request, and from its chunks to a node.

import { t } from "./words.js";

const NUMBERS = ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "repetition_penalty"];

// the messages of a path of nodes, in OpenAI's form
export function messages(path, system) {
  const out = system.trim() ? [{ role: "system", content: system }] : [];
  path.forEach((node, i) => {
    if (node.role === "user") out.push({ role: "user", content: node.text });
    if (node.role !== "assistant") return;
    const calls = (node.calls ?? []).filter(Boolean);
    const said = { role: "assistant", content: node.text };
    if (node.thought) said.reasoning_content = node.thought;
    if (calls.length) {
      said.tool_calls = calls.map((c) => ({
        id: c.id, type: "function", function: { name: c.name, arguments: c.arguments },
      }));
    }
    out.push(said);
    const given = path[i + 1]?.role === "tool" ? path[i + 1].results : {};
    for (const call of calls) {
      const content = given[call.id] ?? t("noResult");
      out.push({ role: "tool", tool_call_id: call.id, name: call.name, content });
    }
  });
  return out;
}

function format(settings) {
  if (settings.form === "json") return { type: "json_object" };
  if (settings.form !== "schema" || !settings.schema.trim()) return undefined;
  const schema = JSON.parse(settings.schema);
  return { type: "json_schema", json_schema: { name: "answer", strict: true, schema } };
}

// tools may be written as OpenAI's list or as bare functions; throws SyntaxError on bad JSON
export function tools(text) {
  if (!text.trim()) return [];
  const given = JSON.parse(text);
  const list = Array.isArray(given) ? given : [given];
  return list.map((x) => (x.function ? x : { type: "function", function: x }));
}

// a field left empty is left out, so the server's own default holds
export function body(path, settings, model) {
  const out = {
    model: settings.model || model,
    messages: messages(path, settings.system),
    stream: true,
    stream_options: { include_usage: true },
  };
  for (const name of NUMBERS) if (settings[name] !== "") out[name] = Number(settings[name]);
  const stops = settings.stops.split("\n").filter(Boolean);
  if (stops.length) out.stop = stops;
  if (settings.thinking) out.chat_template_kwargs = { enable_thinking: settings.thinking === "on" };
  const list = settings.choice === "none" ? [] : tools(settings.tools);
  if (list.length) Object.assign(out, { tools: list, tool_choice: settings.choice });
  const wanted = format(settings);
  if (wanted) out.response_format = wanted;
  return out;
}

// takes one chunk into the node; true when it brought something to show
export function fold(node, chunk) {
  if (chunk.usage) node.stats.usage = chunk.usage;
  if (chunk.model) node.stats.model = chunk.model;
  const choice = chunk.choices?.[0];
  if (!choice) return false;
  if (choice.finish_reason) node.finish = choice.finish_reason;
  const delta = choice.delta ?? {};
  const thought = delta.reasoning_content ?? delta.reasoning ?? "";
  node.thought += thought;
  node.text += delta.content ?? "";
  for (const part of delta.tool_calls ?? []) {
    const call = (node.calls[part.index ?? 0] ??= { id: "", name: "", arguments: "" });
    if (part.id) call.id = part.id;
    call.name += part.function?.name ?? "";
    call.arguments += part.function?.arguments ?? "";
  }
  return Boolean(thought || delta.content || delta.tool_calls?.length);
}
