"""Inspect: its model, a required call, the tool run by it, and an answer."""

import asyncio
import os

from common import ASK, KEY, URL, plus, tell
from inspect_ai.model import ChatMessageUser, GenerateConfig, execute_tools, get_model
from inspect_ai.tool import Tool, tool

os.environ |= {"FLASHLING_BASE_URL": URL, "FLASHLING_API_KEY": KEY}


@tool
def add() -> Tool:
    async def execute(a: int, b: int) -> str:
        """Add two numbers.

        Args:
            a: One number.
            b: The other number.
        """
        return str(plus(a, b))

    return execute


async def main() -> None:
    config = GenerateConfig(temperature=0, max_tokens=64)
    model, tools = get_model("openai-api/flashling/embedded", config=config), [add()]
    messages = [ChatMessageUser(content=ASK)]
    first = await model.generate(messages, tools=tools, tool_choice="any")
    messages.append(first.message)
    messages += (await execute_tools(messages, tools)).messages
    last = await model.generate(messages, tools=tools, tool_choice="none")
    used = [first.usage, last.usage]
    # it counts what was held beside the rest
    given = sum(u.input_tokens + (u.input_tokens_cache_read or 0) for u in used)
    tell("inspect-ai", given, sum(u.output_tokens for u in used))


asyncio.run(main())
