"""Grammars: what may come next, for text held to schemas and for tool calls."""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import Future
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from flashling import nano, ops
from flashling.batch import Batch
from flashling.config import TOY
from flashling.engine import compiler as compilers
from flashling.engine.compiler import Compiled, Compiler, State, Words
from flashling.engine.grammar import Grammar
from flashling.model import oracle, weights
from flashling.model.ling import Ling
from flashling.model.past import Fresh
from flashling.ops.sample import filtered
from flashling.sampling import Sampling
from flashling.text.template import render
from flashling.text.tokenizer import Tokenizer, train_tokenizer
from flashling.text.toolcalls import parse

TEXTS = [
    '{"name": "find", "arguments": {"path": "/tmp", "n": 3, "deep": true}}\n',
    "find all pdf files larger than ten megabytes",
    "列出当前目录下所有文件，时间是几点？",
]
# ids of the model that no token stands for
PADDING = 7
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 6},
        "n": {"type": "integer", "minimum": -20, "maximum": 300},
        "kind": {"enum": ["near", "far", 3]},
        "flags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
        "at": {"$ref": "#/$defs/place"},
    },
    "required": ["city", "kind", "at"],
    "additionalProperties": False,
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 9}},
            "required": ["x"],
            "additionalProperties": False,
        }
    },
}
OTHER = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
TIGHT = {**OTHER, "additionalProperties": False}


def tool(name: str, parameters: dict | None = None) -> dict[str, Any]:
    f: dict[str, Any] = {"name": name, "description": f"does {name}"}
    return {"type": "function", "function": f | ({"parameters": parameters} if parameters else {})}


TOOLS = [tool("find", SCHEMA), tool("find_all", TIGHT), tool('o"dd\n名', TIGHT), tool("now")]


@lru_cache
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS * 20, 420)


@lru_cache
def model() -> Ling:
    t = tokenizer()
    config = TOY.with_(
        vocab_size=t.vocab_size + PADDING, eos_token_ids=t.eos_ids, num_nextn_predict_layers=0
    )
    return Ling(config.with_(initializer_range=0.3)).init_weights(0).double()


@lru_cache
def compiler() -> Compiler:
    return Compiler(tokenizer(), model().config.vocab_size)


def start(grammar: Grammar, *texts: str | int) -> State:
    """A state after some text and special tokens."""
    state = compiler().compile(grammar).start()
    for x in texts:
        for token in [x] if isinstance(x, int) else tokenizer().encode(x):
            state.accept(token)
    return state


def allows(state: State, text: str | int) -> bool:
    """Whether the text or token may come, token by token."""
    tokens = [text] if isinstance(text, int) else tokenizer().encode(text)
    return len(state.draft_masks(tokens[:-1])) == len(tokens) and bool(
        state.draft_masks(tokens[:-1])[-1][tokens[-1]]
    )


def fits(grammar: Grammar, *texts: str | int) -> bool:
    """Whether a text may begin so, however it is cut into tokens."""
    try:
        start(grammar, *texts)
    except ValueError as error:
        assert "may not come" in str(error)
        return False
    return True


def may_end(state: State) -> bool:
    mask = state.mask()
    ends = [bool(mask[e]) for e in tokenizer().eos_ids]
    assert len(set(ends)) == 1
    return ends[0]


def is_valid(schema: dict, value: Any, root: dict) -> bool:
    """The part of JSON Schema that these tests use."""
    if "$ref" in schema:
        return is_valid(root["$defs"][schema["$ref"].rpartition("/")[2]], value, root)
    if "enum" in schema:
        return value in schema["enum"]
    kind = schema["type"]
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "string":
        return isinstance(value, str) and len(value) <= schema["maxLength"]
    if kind == "integer":
        return type(value) is int and schema["minimum"] <= value <= schema["maximum"]
    if kind == "array":
        fits = all(is_valid(schema["items"], v, root) for v in value)
        return isinstance(value, list) and len(value) <= schema["maxItems"] and fits
    known = schema["properties"]
    return (
        isinstance(value, dict)
        and set(schema.get("required", ())) <= set(value) <= set(known)
        and all(is_valid(known[k], v, root) for k, v in value.items())
    )


def say(grammar: Grammar, seed: int, most: int = 150, **settings: Any) -> oracle.Generation:
    """What the random model says under a grammar."""
    compiled = compiler().compile(grammar)
    sampling = Sampling(seed=seed, max_tokens=most, **settings)
    [found] = oracle.generate(model(), [[20, 21, 22]], sampling, guide=compiled.start)
    return found


def wander(state: State, draw: random.Random, most: int = 400) -> list[int]:
    """Uniformly random allowed tokens."""
    tokens: list[int] = []
    while not state.is_done and len(tokens) < most:
        tokens.append(draw.choice(state.mask().nonzero()[:, 0].tolist()))
        state.accept(tokens[-1])
    return tokens


@pytest.mark.parametrize("seed", range(4))
def test_the_models_json_is_valid(seed: int) -> None:
    found = say(Grammar.json_schema(SCHEMA), seed, temperature=1.5)
    assert found.finish == "stop" and found.tokens[-1] in tokenizer().eos_ids
    assert is_valid(SCHEMA, json.loads(tokenizer().decode(found.tokens[:-1])), SCHEMA)


def test_any_way_through_a_schema_is_valid() -> None:
    compiled, draw = compiler().compile(Grammar.json_schema(SCHEMA)), random.Random(0)
    seen = set()
    for _ in range(60):
        state = compiled.start()
        tokens = wander(state, draw)
        assert state.is_done
        value = json.loads(tokenizer().decode(tokens[:-1]))
        assert is_valid(SCHEMA, value, SCHEMA)
        seen.add(tuple(value))
    assert len(seen) > 3


def test_a_schema_is_the_same_as_object_and_as_text() -> None:
    text = json.dumps(SCHEMA, indent=2)
    assert Grammar.json_schema(text) == Grammar.json_schema(SCHEMA)
    assert compiler().compile(Grammar.json_schema(text)) is compiler().compile(
        Grammar.json_schema(SCHEMA)
    )


def test_white_space_is_bounded() -> None:
    grammar = Grammar.json_schema(SCHEMA)
    for text in (
        '{"city": "a", "kind": "far", "at": {"x": 1}}',
        '{"city":"a","kind":3,"at":{"x":1}}',
    ):
        assert allows(start(grammar), text)
    assert fits(grammar, '{"city": "') and not fits(grammar, '{"city":  "')
    assert not fits(grammar, "{\n")


def test_only_what_stands_for_text_may_come() -> None:
    t = tokenizer()
    state = start(Grammar.regex("(?s:.)*"))
    mask = state.mask()
    assert mask.dtype == torch.bool and len(mask) == t.vocab_size + PADDING
    ends = set(t.eos_ids)
    specials = {t.id(s) for s in t.specials}
    # special tokens stand for no text, whatever they are called
    assert not any(mask[i] for i in specials - ends) and not mask[t.vocab_size :].any()
    assert may_end(state)
    words = [i for i in range(t.vocab_size) if i not in specials and t.bytes_of(i).isascii()]
    assert mask[words].all()


def test_regex_and_lark_say_where_the_text_may_end() -> None:
    for grammar in (
        Grammar.regex("find (all|ten)+"),
        Grammar.lark('start: "find " ("all"|"ten")+'),
    ):
        state = start(grammar, "find ")
        assert not may_end(state) and not allows(state, "pdf")
        state = start(grammar, "find all")
        assert may_end(state) and allows(state, "ten") and not allows(state, "a b")
        state.accept(tokenizer().eos_ids[1])
        assert state.is_done and set(state.mask().nonzero()[:, 0].tolist()) == {0, 1}
        with pytest.raises(ValueError, match="after the end"):
            state.accept(5)


def test_what_may_not_come_is_refused_by_name() -> None:
    state = start(Grammar.regex("ab"), "a")
    for token in (tokenizer().eos_ids[0], tokenizer().encode("c")[0], tokenizer().vocab_size + 1):
        with pytest.raises(ValueError, match=f"token {token} may not come"):
            state.accept(token)
    with pytest.raises(ValueError, match="token 99999 is outside"):
        state.accept(99999)
    # it stands where it stood
    assert allows(state, "b")


def test_auto_lets_text_through_and_holds_calls() -> None:
    t = tokenizer()
    opens, closes = t.id("<tool_call>"), t.id("</tool_call>")
    grammar = Grammar.tools(TOOLS)
    expected = torch.ones(t.vocab_size + PADDING, dtype=torch.bool)
    expected[t.vocab_size :] = False
    expected[closes] = False
    head = '\n{"name": "find_all", "arguments": '
    for before in ((), ("列出 <tool_call> {",), (opens, head + '{"ok": true}}\n', closes)):
        assert torch.equal(start(grammar, *before).mask(), expected)
    inside = start(grammar, "so", opens)
    assert allows(inside, head + '{"ok": true}}\n')
    assert allows(inside, '\n{"name": "now", "arguments": {}}\n')
    assert not may_end(inside) and not fits(grammar, opens, opens)
    for wrong in ("no", '\n{"name": "rm', '\n{"name": "find_a"', '\n{"arg', head + '{"city'):
        assert not fits(grammar, opens, wrong)
    assert not fits(grammar, opens, head, '{"ok":  ')
    assert fits(grammar, opens, head, '{"ok": f') and not fits(grammar, opens, head, '{"ok": 1')


@pytest.mark.parametrize("mode", ["auto", "required", "now", 'o"dd\n名', "find"])
def test_calls_read_back_as_declared(mode: str) -> None:
    t, draw = tokenizer(), random.Random(1)
    opens = t.id("<tool_call>")
    compiled = compiler().compile(Grammar.tools(TOOLS, mode))
    schemas = {x["function"]["name"]: x["function"].get("parameters") for x in TOOLS}
    for _ in range(8):
        state = compiled.start()
        tokens = t.encode("所有 so\n") if mode == "auto" else []
        tokens = [*tokens, opens]
        for token in tokens:
            state.accept(token)
        while not may_end(state):
            tokens += wander(state, draw, 1)
        message = parse(tokens, t)
        assert not message.broken
        [call] = message.calls
        name, arguments = call["function"]["name"], json.loads(call["function"]["arguments"])
        assert name == mode or mode in ("auto", "required") and name in schemas
        schema = schemas[name]
        assert is_valid(schema, arguments, schema) if schema else arguments == {}


def test_modes_say_what_begins_and_what_follows() -> None:
    t = tokenizer()
    opens, closes = t.id("<tool_call>"), t.id("</tool_call>")
    call = (opens, '\n{"name": "now", "arguments": {}}\n', closes)
    for mode in ("required", "now"):
        assert start(Grammar.tools(TOOLS, mode)).mask().nonzero()[:, 0].tolist() == [opens]
    assert not allows(start(Grammar.tools(TOOLS, "now"), opens), '\n{"name": "find"')
    many = start(Grammar.tools(TOOLS, "required"), *call)
    assert may_end(many) and allows(many, "\n") and not allows(many, "so")
    assert start(Grammar.tools(TOOLS, "required"), *call, "\n").mask().sum() == 1
    for last in (
        Grammar.tools(TOOLS, "now"),
        Grammar.tools(TOOLS, "required", parallel=False),
        Grammar.tools(TOOLS, "auto", parallel=False),
    ):
        assert start(last, *call).mask().nonzero()[:, 0].tolist() == sorted(t.eos_ids)


def test_the_models_calls_are_declared_ones() -> None:
    found = say(Grammar.tools(TOOLS, "required", parallel=False), 3, temperature=2.0)
    message = parse(found.tokens, tokenizer())
    assert found.finish == "stop" and not message.broken and len(message.calls) == 1


@pytest.fixture(scope="module")
def shipped() -> tuple[Tokenizer, Ling]:
    return Tokenizer.read(nano.path()), weights.read(nano.path(), torch.float32)


@pytest.mark.parametrize("seed", range(2))
def test_the_shipped_model_calls_what_is_declared(
    shipped: tuple[Tokenizer, Ling], seed: int
) -> None:
    t, ling = shipped
    city = {"type": "string", "maxLength": 12}
    schema = {"type": "object", "properties": {"city": city}, "required": ["city"]}
    tools = [tool("weather", {**schema, "additionalProperties": False}), tool("now")]
    asked = [{"role": "user", "content": "What is the weather in Berlin?"}]
    prompt = render(asked, tools, tokenizer=t).tokens
    beside = Compiler(t, ling.config.vocab_size)
    compiled = beside.compile(Grammar.tools(tools, "weather"))
    sampling = Sampling(temperature=1.5, seed=seed, max_tokens=60)
    [found] = oracle.generate(ling, [prompt], sampling, guide=compiled.start)
    [call] = parse(found.tokens, t).calls
    assert found.finish == "stop" and call["function"]["name"] == "weather"
    assert is_valid(schema, json.loads(call["function"]["arguments"]), schema)


def test_masks_of_drafts_are_those_one_by_one() -> None:
    t, draw = tokenizer(), random.Random(5)
    for grammar in (Grammar.json_schema(SCHEMA), Grammar.tools(TOOLS), Grammar.regex("(a|bc){9}")):
        compiled = compiler().compile(grammar)
        for _ in range(4):
            whole = wander(compiled.start(), draw, 40)
            cut = draw.randrange(len(whole))
            state = compiled.start()
            for token in whole[:cut]:
                state.accept(token)
            before = state.mask()
            # a slip after some good drafts
            good = whole[cut : cut + draw.randrange(9)]
            found = state.draft_masks([*good, t.vocab_size + 1, 9])
            assert torch.equal(state.mask(), before)
            alone: list[Tensor] = []
            for token in [*good, None]:
                alone += [] if state.is_done else [state.mask()]
                if token is not None:
                    state.accept(token)
            assert len(found) == len(alone)
            assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))


def test_a_draft_that_no_mask_allows_ends_them() -> None:
    state, brace = start(Grammar.json_schema(SCHEMA)), tokenizer().encode("{")
    # where the text is certain, only the tokens that the tokenizer gives it may be drawn
    assert fits(Grammar.json_schema(SCHEMA), *brace) and not state.mask()[brace[0]]
    assert len(state.draft_masks([*brace, *brace])) == 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_oracle_is_the_sampler_under_the_masks_of_drafts(temperature: float) -> None:
    settings: dict[str, Any] = {"temperature": temperature, "frequency_penalty": 0.3, "top_p": 0.9}
    for grammar in (Grammar.json_schema(SCHEMA), Grammar.tools(TOOLS, "required")):
        prompt, out = [20, 21, 22], say(grammar, 1, 40, **settings).tokens
        # all rows in one pass, as drafts are read
        batch = Batch.pack([prompt + out])
        with torch.no_grad():
            logits = model().logits(model()(batch, Fresh(batch)))[len(prompt) - 1 : -1]
        masks = start(grammar).draft_masks(out)[: len(out)]
        drawn = [
            ops.choose(row, Sampling(seed=1, **settings), prompt, out[:i], allowed=mask)
            for i, (row, mask) in enumerate(zip(logits, masks, strict=True))
        ]
        assert drawn == out


def test_masks_come_after_bias_and_before_the_filters() -> None:
    logits = torch.tensor([5.0, 1.0, 2.0, 3.0])
    allowed = torch.tensor([False, True, True, True])
    sure = Sampling(temperature=0.0, logit_bias={0: 100.0, 1: 4.0})
    assert ops.choose(logits, sure, [], [], allowed=allowed) == 1
    top = filtered(logits, Sampling(top_k=2), [], [], allowed)
    assert top.tolist() == [-torch.inf, -torch.inf, 2.0, 3.0]
    # the grammar wants the end, min_tokens more text
    longer = Sampling(temperature=0.0, min_tokens=3, stop_ids=(2,))
    assert ops.choose(logits, longer, [], [], allowed=torch.arange(4) == 2) == 2
    assert ops.choose(logits, longer, [], [], allowed=torch.arange(4) < 0.5) == 0
    with pytest.raises(ValueError, match="no token may come"):
        filtered(logits, Sampling(), [], [], torch.zeros(4, dtype=torch.bool))
    with pytest.raises(ValueError, match="a mask of 3 tokens for a vocabulary of 4"):
        filtered(logits, Sampling(), [], [], allowed[:3])


def nested(depth: int) -> str:
    return '{"type":"array","items":' * depth + "{}" + "}" * depth


def strings(count: int) -> dict:
    return {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(count)}}


def product() -> dict:
    one = [{"properties": {f"a{j}": {"pattern": f"^x{j}.*y$"}}} for j in range(6)]
    return {"allOf": [{"anyOf": one}] * 8, "type": "object"}


# what is asked, and what the refusal says; none where it must run within its limits
BOMBS = {
    "quantifiers": (lambda: Grammar.regex("(a+)+b"), None),
    "backwards 16": (lambda: Grammar.regex(".*a.{16}"), None),
    "backwards 24": (lambda: Grammar.regex(".*a.{24}"), None),
    "repeat": (lambda: Grammar.regex("[a-z]{1,100000}"), None),
    "repeats": (lambda: Grammar.regex("(([a-z]{1,1000}){1,1000}){1,1000}"), None),
    "brackets": (lambda: Grammar.regex("(" * 30000 + "a" + ")" * 30000), "invalid regex"),
    "look-ahead": (lambda: Grammar.regex("(?=a)b"), "look-around"),
    "pattern": (lambda: Grammar.regex("a["), "unclosed character class"),
    "type": (lambda: Grammar.json_schema({"type": "foo"}), "Invalid type: foo"),
    "nested": (lambda: Grammar.json_schema(nested(2000)), "nested deeper|recursion"),
    "nested 63": (lambda: Grammar.json_schema(nested(63)), None),
    "deep text": (lambda: Grammar.json_schema("[" * 100_000), "JSON"),
    "long": (lambda: Grammar.json_schema({"type": "string", "maxLength": 10**9}), None),
    "items": (lambda: Grammar.json_schema({"type": "array", "maxItems": 10**9}), None),
    "properties": (lambda: Grammar.json_schema(strings(20000)), "at most 262144"),
    "product": (lambda: Grammar.json_schema(product()), "schema too large"),
    "enum": (lambda: Grammar.json_schema({"enum": [f"v{i}" for i in range(50000)]}), "at most"),
    "enum 12k": (lambda: Grammar.json_schema({"enum": [f"v{i}" for i in range(12000)]}), None),
    "itself": (lambda: Grammar.json_schema({"$ref": "#"}), "no text satisfies it"),
    "without end": (
        lambda: Grammar.json_schema(
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
        ),
        None,
    ),
    "remote": (lambda: Grammar.json_schema({"$ref": "http://a.b/c"}), "a.b/c"),
    "keyword": (lambda: Grammar.json_schema({"not": {"type": "string"}}), '"not"'),
    "left": (lambda: Grammar.lark("start: start"), "no text satisfies it"),
    "ambiguous": (lambda: Grammar.lark('start: start start | "a" |'), None),
    "lark brackets": (lambda: Grammar.lark("start: " + "(" * 60000), "nested"),
    "doubling": (
        lambda: Grammar.lark(
            "start: r0\n" + "\n".join(f"r{i}: r{i + 1} r{i + 1}" for i in range(40)) + '\nr40: "a"'
        ),
        None,
    ),
    "empty": (lambda: Grammar.lark(""), "Empty grammar"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_or_stay_within_limits(name: str) -> None:
    make, refusal = BOMBS[name]
    begun, draw = time.monotonic(), random.Random(0)
    if refusal is None:
        state = compiler().compile(make()).start()
        try:
            wander(state, draw, 60)
        except ValueError as error:
            # the limit of a step ends the request, by name
            assert "cannot be followed" in str(error) or "may not come" in str(error)
    else:
        with pytest.raises(ValueError, match=refusal) as refused:
            compiler().compile(make())
        assert len(str(refused.value)) < 600
    # far from hanging, on a machine that is busy as well
    assert time.monotonic() - begun < 6


def test_limits_are_named() -> None:
    Grammar.regex("a" * (256 << 10))
    with pytest.raises(ValueError, match="the regex has 262145 bytes; at most 262144"):
        Grammar.regex("a" * (256 << 10) + "b")
    Grammar.tools([tool(f"t{i}") for i in range(128)])
    with pytest.raises(ValueError, match="129 tools are declared; at most 128"):
        Grammar.tools([tool(f"t{i}") for i in range(129)])
    with pytest.raises(ValueError, match="the tools: nested deeper than 128"):
        Grammar.tools([tool("t", {"properties": {"a": json.loads(nested(130))}})])
    for schema, said in (
        (5, "an object, not int"),
        ("{", "not JSON"),
        ({"a": float("nan")}, "JSON"),
    ):
        with pytest.raises(ValueError, match=said):
            Grammar.json_schema(schema)  # pyright: ignore
    with pytest.raises(ValueError, match="half of a surrogate"):
        Grammar.json_schema('{"const": "\\ud800"}')
    with pytest.raises(ValueError, match="the regex must be text, not int"):
        Grammar.regex(5)  # pyright: ignore


@pytest.mark.parametrize(
    ("tools", "mode", "said"),
    [
        ([], "auto", "no tools"),
        ([tool("a"), {"type": "function"}], "auto", "tool 1 needs a function with a name"),
        ([tool("")], "auto", "tool 0 needs"),
        ([tool("a"), tool("a")], "auto", "'a' is declared twice"),
        ([tool("a")], "b", "'b' is neither auto, required nor a declared tool"),
        ([tool("a", {"type": "array"})], "auto", "'a': parameters must be of type object"),
        ([{"function": {"name": "a", "parameters": 3}}], "auto", "'a': parameters must be a JSON"),
    ],
)
def test_malformed_tools_are_named(tools: list, mode: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Grammar.tools(tools, mode)


def test_a_schema_that_cannot_be_held_is_refused_for_its_tool() -> None:
    # what validators alone know is let go
    start(Grammar.tools([tool("a", {"properties": {}, "not": {"required": ["b"]}})]))
    with pytest.raises(ValueError, match="Invalid type: foo"):
        start(Grammar.tools([tool("a", {"properties": {"x": {"type": "foo"}}})]))


def test_a_schema_that_nothing_satisfies_leaves_its_tool_loose() -> None:
    # the members' enum at their list, as it is met in the wild
    tags = {"type": "array", "items": {"type": "string"}, "enum": ["so", "no"]}
    slip = {"properties": {"tags": tags}, "required": ["tags"]}
    held = {"properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    grammar = Grammar.tools([tool("a", slip), tool("b", held)])
    opens = tokenizer().id("<tool_call>")
    assert fits(grammar, opens, '\n{"name": "a", "arguments": {"tags": ["so"]}}\n')
    assert fits(grammar, opens, '\n{"name": "b", "arguments": {"n": 1}}\n')
    assert not fits(grammar, opens, '\n{"name": "b", "arguments": {"tags"')


def test_tokenizers_and_ends_must_fit() -> None:
    bare = json.loads(tokenizer().source)
    bare["added_tokens"] = [t for t in bare["added_tokens"] if "tool" not in t["content"]]
    poor = Compiler(Tokenizer(json.dumps(bare)), model().config.vocab_size)
    with pytest.raises(ValueError, match="no special token '<tool_call>'"):
        poor.compile(Grammar.tools(TOOLS))
    bare["added_tokens"] = bare["added_tokens"][3:]
    for t, vocab in ((Tokenizer(json.dumps(bare)), 427), (tokenizer(), 1)):
        with pytest.raises(ValueError, match=f"no tokens of a model of {vocab}"):
            Compiler(t, vocab)


def test_the_cache_counts_bytes_and_keeps_the_latest() -> None:
    one = compilers.BASE_BYTES + compilers.BYTES_PER_BYTE
    small = Compiler(tokenizer(), model().config.vocab_size, cache_bytes=2 * one)
    a, b, c = (Grammar.regex(x) for x in "abc")
    first = small.compile(a)
    second = small.compile(b)
    assert small.compile(a) is first and small.bytes_kept == 2 * one
    small.compile(c)
    assert small.compile(a) is first and small.bytes_kept == 2 * one
    assert small.compile(b) is not second
    big, latest = Grammar.regex("a" * 2000), small.compile(b)
    assert small.compile(big) is not small.compile(big)
    assert small.compile(b) is latest and small.bytes_kept == 2 * one
    small.close()


def test_what_is_late_fails_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Compiler(tokenizer(), model().config.vocab_size, threads=2, deadline=0.2)
    build = compilers._build

    def slow(grammar: Grammar, words: Words) -> Compiled:
        if grammar.text == "slow":
            time.sleep(0.6)
        if grammar.text == "broken":
            raise MemoryError("no memory")
        return build(grammar, words)

    monkeypatch.setattr(compilers, "_build", slow)
    late = quick.submit(Grammar.regex("slow"))
    broken: Future = quick.submit(Grammar.regex("broken"))
    assert quick.compile(Grammar.regex("fine")).start().mask().any()
    with pytest.raises(ValueError, match=r"the regex took longer than 0.2 s"):
        late.result(5)
    with pytest.raises(ValueError, match="cannot be compiled: no memory"):
        broken.result(5)
    quick.close()
