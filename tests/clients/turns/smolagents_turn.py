"""smolagents: an agent whose every step is a required call."""

from common import ASK, KEY, URL, plus, tell
from smolagents import OpenAIModel, ToolCallingAgent, tool


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: One number.
        b: The other number.
    """
    return plus(a, b)


model = OpenAIModel("embedded", api_base=URL, api_key=KEY, temperature=0, max_tokens=128)
agent = ToolCallingAgent([add], model, max_steps=2, verbosity_level=0)
used = agent.run(ASK, return_full_result=True).token_usage
tell("smolagents", used.input_tokens, used.output_tokens)
