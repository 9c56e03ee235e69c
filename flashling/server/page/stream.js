// Streamed answers, which the server keeps for a while for one who was cut off.

import { Refused, ask, post } from "./api.js";

// the events of a stream as {id, data}; comments keep the line alive and are dropped
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let id = "";
  let data = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("id:")) id = line.slice(3).trim();
      if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      if (line === "" && data.length) {
        yield { id, data: data.join("\n") };
        data = [];
      }
    }
  }
}

// [number, chunk] of an answer until [DONE]; Refused when the server breaks off, with status 0 when
// it was the connection
async function* chunks(answer) {
  try {
    for await (const { id, data } of events(answer.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Refused(chunk.error.code ?? 500, chunk.error.message ?? "");
      yield [id, chunk];
    }
  } catch (error) {
    if (error instanceof TypeError) throw new Refused(0, "");
    throw error;
  }
  throw new Refused(0, "");
}

// Asks for an answer. stream {call}: the id of the request; it gets that of the stream, `id`, if
// the server keeps it.
export async function* begin(request, stream, signal) {
  const headers = { Accept: "text/event-stream", "X-Flashling-Resumable": "1", "X-Request-Id": stream.call };
  const answer = await post("/v1/chat/completions", request, { headers, signal });
  stream.id = answer.headers.get("X-Flashling-Stream");
  yield* chunks(answer);
}

// the rest of a kept stream, after the event `stream.last`
export async function* resume(stream, signal) {
  const headers = { Accept: "text/event-stream" };
  if (stream.last) headers["Last-Event-ID"] = stream.last;
  yield* chunks(await ask(`/v1/streams/${stream.id}`, { headers, signal }));
}
