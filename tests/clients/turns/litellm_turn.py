"""litellm: a required call, then a streamed answer."""

import json

import litellm
from common import ASK, KEY, SCHEMA, URL, plus, tell

known = {
    "model": "openai/embedded", "api_base": URL, "api_key": KEY, "temperature": 0,
    "max_tokens": 64, "tools": [SCHEMA],
}  # fmt: skip
messages = [{"role": "user", "content": ASK}]
first = litellm.completion(messages=messages, tool_choice="required", **known)
message = first.choices[0].message
messages.append(message.model_dump())
for call in message.tool_calls:
    result = str(plus(**json.loads(call.function.arguments)))
    messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
options = {"include_usage": True}
chunks = list(litellm.completion(messages=messages, stream=True, stream_options=options, **known))
last = litellm.stream_chunk_builder(chunks, messages=messages)
used = [first.usage, last.usage]
tell("litellm", sum(u.prompt_tokens for u in used), sum(u.completion_tokens for u in used))
