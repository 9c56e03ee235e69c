"""What a checkpoint says by itself: its tokenizer, its template, and a reading of its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from flashling import LLM, nano
from flashling.batch import Batch
from flashling.engine.engine import Engine
from flashling.engine.request import Request
from flashling.evals import checkpoint
from flashling.evals.checkpoint import Reading, bundled, papers, read
from flashling.model import weights
from flashling.model.past import Fresh
from flashling.model.streamed import Streamed
from flashling.sampling import Sampling
from flashling.text.tokenizer import Tokenizer
from tests import toy

# ends of an answer, which would end the text
ENDS = dict.fromkeys((0, 1), -1e3)
TEXT = "list the files of src 列出文件 and reply with one shell command, then list them again. " * 2


class Known(Tokenizer):
    """A tokenizer that knows one text whose tokens are not those that it would make."""

    tokens: list[int] = []

    def encode(self, text: str) -> list[int]:
        return self.tokens if text == TEXT else super().encode(text)


def sampled(folder: Path, offset: int) -> Known:
    """The tokenizer of a text which the model in `folder` wrote under a decay offset."""
    model = weights.read(folder, torch.float32, decay_offset=offset)
    engine = Engine(model, slots=1, pages=16)
    engine.add(Request((3,), Sampling(max_tokens=300, logit_bias=ENDS)))
    known = Known(toy.tokenizer().source)
    known.tokens = [3, *(e.token for e in engine.run() if e.token is not None)]
    return known


@pytest.mark.parametrize("offset", [0, 1])
def test_the_offset_that_wrote_a_text_is_found(offset: int, tmp_path: Path) -> None:
    folder = toy.write(tmp_path)
    t = sampled(folder, offset)
    reading = read(folder, t, {"lines": TEXT})
    first, *more = reading.sentences(0)
    assert reading.offset == offset
    assert first.startswith(f"decay offset {offset} fits better: ")
    assert (more[0] == 'config.json has another: write "decay_offset": 1 into it') == (offset == 1)


def test_the_embedded_model_is_read_as_it_runs() -> None:
    """Layer by layer or whole: the same figures."""
    llm, text = LLM(), "find files over 10 MB in logs"
    reading = read(nano.path(), llm.tokenizer, {"request": text})
    talk = llm.prompt([checkpoint.ASKED], [checkpoint.TOOL])
    batch = Batch.pack([llm.tokenizer.encode(text)])
    with torch.no_grad():
        hidden = llm.model(batch, Fresh(batch))
        loss = F.cross_entropy(llm.model.logits(hidden[:-1]), batch.tokens[1:])
    assert reading.loss["request"][0] == pytest.approx(float(loss), abs=1e-4)
    assert reading.loss["request"][1] != pytest.approx(float(loss), abs=1e-4)
    # the call that it writes by itself is the one that was read
    [call] = llm.chat([checkpoint.ASKED], [checkpoint.TOOL], stream=False).calls
    assert call["function"]["name"] == "get_weather"
    assert reading.instead is None and reading.tokens == reading.right == 20
    whole = Batch.pack([llm.tokenizer.encode(text), [*talk, *answer(llm)]])
    with torch.no_grad():
        past = Fresh(whole)
        hidden = llm.model(whole, past)
        guess = llm.model.logits(llm.model.mtp_hidden(hidden, whole, past)).argmax(-1)
        best = llm.model.logits(hidden).argmax(-1)
    rows = [torch.arange(a, b - 2) for a, b in zip(whole.starts, whole.starts[1:], strict=False)]
    at = torch.cat(rows)
    share = float((guess[at] == best[at + 1]).float().mean())
    assert share > 0.3 and reading.drafted == len(at)
    assert reading.drafts["after the final norm"] == pytest.approx(share, abs=1e-3)


def answer(llm: LLM) -> list[int]:
    """The tokens of its answer to the tool question."""
    return llm.chat([checkpoint.ASKED], [checkpoint.TOOL], stream=False).tokens


def test_one_layer_is_held_at_a_time(tmp_path: Path) -> None:
    model = Streamed(toy.write(tmp_path))
    with model.loaded("layers.1") as layer:
        assert not any(p.is_meta for p in layer.parameters())
        held = [p for p in model.model.parameters() if not p.is_meta]
        assert len(held) == len(list(layer.parameters()))
    model.hidden(Batch.pack([[3, 4, 5]]), (0, 1))
    assert all(p.is_meta for p in model.model.parameters())


def test_a_random_model_settles_nothing(tmp_path: Path) -> None:
    reading = read(toy.write(tmp_path), toy.tokenizer(), {"lines": TEXT})
    decay, mtp, call = reading.sentences(0)
    assert decay.startswith("these texts do not settle the decay offset: ")
    assert mtp.startswith("which hidden state the MTP layer reads is not settled: ")
    assert "are its first choice; it would write " in call


def test_without_mtp(tmp_path: Path) -> None:
    c = toy.config().with_(num_nextn_predict_layers=0)
    reading = read(toy.write(tmp_path, c=c), toy.tokenizer(), {"lines": TEXT})
    assert reading.sentences(0)[1] == "there is no MTP layer to judge"


def test_sentences() -> None:
    loss = {"en": {0: 2.1, 1: 7.9}, "zh": {0: 2.3, 1: 8.1}}
    good = Reading(loss, (5.8, 0.1), {"before": 0.2, "after": 0.71}, 900, 20, 20)
    assert good.sentences(0) == [
        "decay offset 0 fits better: 2.10, 2.30 against 7.90, 8.10 nats a token in en, zh; by "
        "5.8000 with an error of 0.1000",
        "the MTP layer reads the hidden state after: 71% of drafts are what greedy decoding takes, "
        "against 20% before",
        "it writes the tool call by itself: all 20 tokens are its choice",
    ]
    assert good.sentences(1)[1] == 'config.json has another: write "decay_offset": 0 into it'


def test_the_bundled_texts_are_prose() -> None:
    texts = bundled()
    assert texts.keys() == {"en", "zh"}
    assert "almost three years when its disk" in texts["en"] and "  " not in texts["en"]
    assert "这一次却在四分钟之后" in texts["zh"] and " " not in texts["zh"].replace("\n\n", "")
    assert all(text.count("\n\n") == 3 and text.count("\n") == 6 for text in texts.values())


# ---- tokenizer and template ----


def test_papers(tmp_path: Path) -> None:
    folder, c = toy.write(tmp_path), toy.config()
    found = papers(folder, c)
    assert found.faults == []
    assert found.said[0].startswith("tokenizer: 308 tokens of 308; <|endoftext|> 0, <|role_end|> 1")
    assert found.said[1:] == ["chat template: the built-in one (the folder has none)"]
    odd = papers(folder, c.with_(eos_token_ids=(1, 9)))
    assert "config.json ends answers with 9 too" in odd.said[1]
    [fault] = papers(folder, c.with_(vocab_size=300)).faults
    assert fault.said == ["tokenizer.json has 308 tokens, config.json 300"]
    (folder / "tokenizer.json").unlink()
    [fault] = papers(folder, c).faults
    assert fault.kind == "tokenizer" and "no tokenizer.json at" in fault.said[0]


def test_the_template_is_compared(tmp_path: Path) -> None:
    folder, c = toy.write(tmp_path), toy.config()
    ours = Path(checkpoint.jinja.__file__).with_name("ling.jinja").read_text("utf-8")
    (folder / "chat_template.jinja").write_text(ours)
    said = [s for s in papers(folder, c).said if s.startswith("chat template")]
    assert len(said) == 5 and all(s.endswith("as the built-in one writes it") for s in said)
    (folder / "chat_template.jinja").write_text(ours.replace("HUMAN", "USER"))
    said = [s for s in papers(folder, c).said if s.startswith("chat template")]
    assert "<role>USER</role>" in said[0] and "where the built-in one writes" in said[0]
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    assert "refuses these messages: no" in papers(folder, c).said[1]
