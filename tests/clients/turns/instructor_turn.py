"""instructor: a typed answer by a call of a named tool."""

import instructor
from common import ASK, KEY, URL, plus, tell
from openai import OpenAI
from pydantic import BaseModel


class Sum(BaseModel):
    """Two numbers to add."""

    a: int
    b: int


client = instructor.from_openai(OpenAI(base_url=URL, api_key=KEY), mode=instructor.Mode.TOOLS)
found, answer = client.create_with_completion(
    model="embedded",
    response_model=Sum,
    messages=[{"role": "user", "content": ASK}],
    temperature=0,
    max_retries=0,
)
plus(found.a, found.b)
tell("instructor", answer.usage.prompt_tokens, answer.usage.completion_tokens)
