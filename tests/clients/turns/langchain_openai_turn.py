"""LangChain: a required call, then a streamed answer."""

from common import ASK, KEY, URL, plus, tell
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return plus(a, b)


llm = ChatOpenAI(
    model="embedded", base_url=URL, api_key=KEY, temperature=0, max_tokens=64, stream_usage=True
)
messages: list[BaseMessage] = [HumanMessage(ASK)]
first = llm.bind_tools([add], tool_choice="required").invoke(messages)
messages += [first, *(add.invoke(call) for call in first.tool_calls)]
chunks = list(llm.bind_tools([add]).stream(messages))
last = chunks[0]
for chunk in chunks[1:]:
    last += chunk
used = [first.usage_metadata, last.usage_metadata]
tell("langchain-openai", *(sum(u[f"{k}_tokens"] for u in used) for k in ("input", "output")))
