"""A checkpoint's own chat template, run in minijinja with a bound on its work.

Text of messages and tools can never become a control token, whatever it spells: before the template
runs, a guard character is put into it wherever it could begin or complete the text of a special
token, and taken out again from what lies between the special tokens of the result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from .template import Message, check, text_of
from .tokenizer import Tokenizer

# steps of the template engine: what a chat of any length needs, and per message beyond it
FUEL, FUEL_EACH = 500_000, 2_000
KEYWORDS = frozenset(
    "type function name description parameters properties required items enum default".split()
)
PRIVATE = range(0xE000, 0xF900)
Tools = Sequence[dict[str, Any]] | None


def template(path: str | Path, tokenizer: Tokenizer) -> Callable[..., list[int]]:
    """The renderer (messages, tools=None, thinking=None) -> tokens of the template at `path`; see
    `read` and `render`.
    """
    source = read(path)

    def run(
        messages: Sequence[Message], tools: Tools = None, thinking: bool | None = None
    ) -> list[int]:
        return render(source, messages, tools, tokenizer=tokenizer, thinking=thinking)

    return run


def read(path: str | Path) -> str:
    """The template in a Jinja file, or in a checkpoint's folder: its chat_template.jinja, else
    the one named in its tokenizer_config.json.
    """
    file = Path(path)
    if file.is_dir():
        config = file / "tokenizer_config.json"
        file = file / "chat_template.jinja"
        if not file.is_file() and config.is_file():
            source = json.loads(config.read_text("utf-8")).get("chat_template")
            if isinstance(source, str):
                return source
    if not file.is_file():
        raise ValueError(f"no chat template at {file}: give a Jinja file or a folder with one")
    return file.read_text("utf-8")


def render(
    source: str,
    messages: Sequence[Message],
    tools: Tools = None,
    *,
    tokenizer: Tokenizer,
    add_generation_prompt: bool = True,
    thinking: bool | None = None,
) -> list[int]:
    """The tokens of a conversation under the Jinja template `source`. Special tokens that the
    template itself writes are tokens; in messages and tools they are text.

    thinking: given to the template as `thinking` and `enable_thinking`; None leaves them undefined.
    Raises ValueError where messages are malformed, or the template is or refuses them.
    """
    armour = _Armour(tokenizer.specials, (messages, tools))
    text = _run(source, _context(messages, tools, add_generation_prompt, thinking, armour.put))
    tokens: list[int] = []
    for i, part in enumerate(armour.split(text)):
        tokens += [tokenizer.id(part)] if i % 2 else tokenizer.encode(armour.off(part))
    return tokens


def render_text(
    source: str,
    messages: Sequence[Message],
    tools: Tools = None,
    *,
    add_generation_prompt: bool = True,
    thinking: bool | None = None,
) -> str:
    """The same conversation as text, unguarded: for reading and comparing."""
    return _run(source, _context(messages, tools, add_generation_prompt, thinking, lambda t: t))


class _Armour:
    """Puts guards into text, so that it takes no part in any special token's text."""

    def __init__(self, specials: Sequence[str], given: Any) -> None:
        # what is one character long could not be guarded inside; it is then never a token
        self._specials = tuple(s for s in specials if len(s) > 1)
        used = set(json.dumps(given, ensure_ascii=False, default=str))
        free = (chr(i) for i in PRIVATE if chr(i) not in used)
        self.guard = next(free, "")
        if not self.guard:
            raise ValueError("the messages use every private character; take one of U+E000 out")
        self._firsts, self._ends, self._inner = _shapes(self._specials)

    def put(self, text: str) -> str:
        """`text` with guards: after each character that begins a special token, and at the start
        where what stands before it could be completed. Letters count in either case.
        """
        for at in sorted({len(text) - len(text.lstrip()), 0}, reverse=True):
            start = text[at:].casefold()
            if start and (start in self._inner or start.startswith(self._ends)):
                text = text[:at] + self.guard + text[at:]
        return self._firsts.sub(lambda m: m.group() + self.guard, text)

    def split(self, text: str) -> list[str]:
        """Text and special tokens by turns, text first."""
        if not self._specials:
            return [text]
        longest = sorted(self._specials, key=len, reverse=True)
        return re.split(f"({'|'.join(map(re.escape, longest))})", text)

    def off(self, text: str) -> str:
        """`text` without its guards."""
        return text.replace(self.guard, "")


@lru_cache(maxsize=4)
def _shapes(specials: tuple[str, ...]) -> tuple[re.Pattern, tuple[str, ...], frozenset[str]]:
    """A pattern of the characters that begin specials; the ends of specials; texts inside them."""
    firsts = {c for s in specials for c in (s[0], s[0].lower(), s[0].upper())}
    pattern = re.compile(f"[{re.escape(''.join(sorted(firsts)))}]" if firsts else r"(?!)")
    folded = [s.casefold() for s in specials]
    ends = {s[k:] for s in folded for k in range(1, len(s))}
    return pattern, tuple(ends), frozenset(e[:k] for e in ends for k in range(1, len(e)))


def _context(
    messages: Sequence[Message],
    tools: Tools,
    add_generation_prompt: bool,
    thinking: bool | None,
    put: Callable[[str], str],
) -> dict[str, Any]:
    check(messages)
    context: dict[str, Any] = {
        "messages": [_message(m, put) for m in messages],
        "tools": [_declared(t, put) for t in tools] if tools else None,
        "add_generation_prompt": add_generation_prompt,
    }
    if thinking is not None:
        context |= {"thinking": thinking, "enable_thinking": thinking}
    return context


def _message(m: Message, put: Callable[[str], str]) -> dict[str, Any]:
    """A message as templates expect it: content is a text, reasoning has both of its names."""
    out: dict[str, Any] = {"role": m["role"], "content": put(text_of(m))}
    if m.get("reasoning"):
        out["reasoning"] = out["reasoning_content"] = put(m["reasoning"])
    for key in ("name", "tool_call_id"):
        if isinstance(m.get(key), str):
            out[key] = put(m[key])
    if m.get("tool_calls"):
        out["tool_calls"] = [_call(c, put) for c in m["tool_calls"]]
    return out


def _call(call: dict[str, Any], put: Callable[[str], str]) -> dict[str, Any]:
    f = call["function"]
    function = {"name": put(f["name"]), "arguments": _guarded(f["arguments"], put)}
    return {"id": put(str(call.get("id", ""))), "type": "function", "function": function}


def _guarded(value: Any, put: Callable[[str], str]) -> Any:
    """A copy with guards in its texts, keys included."""
    if isinstance(value, str):
        return put(value)
    if isinstance(value, (list, tuple)):
        return [_guarded(v, put) for v in value]
    if isinstance(value, dict):
        return {_guarded(k, put): _guarded(v, put) for k, v in value.items()}
    return value


def _declared(value: Any, put: Callable[[str], str], is_named: bool = False) -> Any:
    """A tool's declaration with guards. What templates ask for by name stays as it is: the keys of
    JSON schema and the type "function"; is_named: the keys are names of parameters, so they do not.
    """
    if isinstance(value, (list, tuple)):
        return [_declared(v, put) for v in value]
    if not isinstance(value, dict):
        return _guarded(value, put)
    out = {}
    for key, v in value.items():
        is_known = key in KEYWORDS and not is_named
        inner = _declared(v, put, is_named=is_known and key == "properties")
        out[key if is_known else _guarded(key, put)] = v if is_known and v == "function" else inner
    return out


class _Refused(Exception):
    """The template called raise_exception."""


def _run(source: str, context: dict[str, Any]) -> str:
    environment = _environment(source)
    environment.fuel = FUEL + FUEL_EACH * len(context["messages"])
    try:
        return environment.render_template("chat", **context)
    except _Refused as error:
        raise ValueError(f"the chat template refuses these messages: {error}") from None
    except (RuntimeError, TypeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        remedy = "leave --chat-template out to use the built-in format"
        raise ValueError(f"the chat template failed: {first}; {remedy}") from None


@lru_cache(maxsize=4)
def _environment(source: str) -> Any:
    from minijinja import Environment

    # spans that mark what was generated, for training: here they are plain blocks
    source = re.sub(r"(\{%[-+]?\s*)generation(\s*[-+]?%\})", r"\1if true\2", source)
    source = re.sub(r"(\{%[-+]?\s*)endgeneration(\s*[-+]?%\})", r"\1endif\2", source)
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, undefined_behavior="lenient", debug=False
    )
    environment.add_filter("tojson", _tojson)
    environment.add_global("raise_exception", _refuse)
    try:
        environment.add_template("chat", source)
    except RuntimeError as error:
        raise ValueError(f"the chat template is not valid: {error}") from None
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # the form that transformers has; an escaped guard could not be taken out again, so never ASCII
    del ensure_ascii
    return json.dumps(
        value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(message: str) -> None:
    raise _Refused(message)
