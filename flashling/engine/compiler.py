"""Grammars compiled beside the engine's thread, and the masks of the sequences that follow them."""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..text.tokenizer import Tokenizer
from .grammar import Grammar
from .grammar_tools import COMPACT, each_alone, tools_lark

if TYPE_CHECKING:
    from llguidance import LLMatcher

# an automaton state takes 1 to 2 kB
MAX_LEXER_STATES = 50_000
# measured with llguidance 1.9: a compiled schema of 28 kB takes 4 MB, the smallest 60 kB
BASE_BYTES, BYTES_PER_BYTE = 64 << 10, 192


class Compiled:
    """A grammar for one vocabulary. nbytes: an estimate of what it takes."""

    def __init__(self, matcher: LLMatcher, words: Words, nbytes: int) -> None:
        self._matcher, self._words, self.nbytes = matcher, words, nbytes

    def start(self) -> State:
        """The state of a new sequence, before its first drawn token."""
        return State(self._matcher.deep_copy(), self._words)


class State:
    """Where one sequence stands in its grammar. One thread uses all states of a `Compiled`: they
    share what the lexer learns.
    """

    def __init__(self, matcher: LLMatcher, words: Words) -> None:
        self._matcher, self._words = matcher, words
        self._is_done = False

    @property
    def is_done(self) -> bool:
        """Whether an end has been accepted."""
        return self._is_done

    def mask(self) -> Tensor:
        """[V] bool on the CPU: which tokens may come next; the ends where the text may end.

        ValueError where the grammar turns out too complex to be followed, or has no way on.
        """
        if self._is_done:
            return self._words.is_end.clone()
        packed = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        bits = np.unpackbits(packed, count=len(self._words.is_known), bitorder="little")
        found = torch.from_numpy(bits.view(np.bool_)) & self._words.is_known
        return found | self._words.is_end if self._matcher.is_accepting() else found

    def accept(self, token: int) -> None:
        """Go on by a drawn token. ValueError if it may not come here, or makes the grammar too
        complex to be followed; the state is of no use then.
        """
        if self._is_done:
            raise ValueError(f"token {token} comes after the end")
        if not 0 <= token < len(self._words.is_known):
            raise ValueError(f"token {token} is outside of {len(self._words.is_known)}")
        if self._words.is_end[token]:
            self._is_done = fits = self._matcher.is_accepting()
        else:
            fits = bool(self._words.is_known[token])
            # unlike consume_token, it leaves the matcher whole where the token does not fit
            fits = fits and self._matcher.try_consume_tokens([token]) == 1
        if not fits:
            self._check()
            raise ValueError(f"token {token} may not come here")

    def draft_masks(self, drafts: Sequence[int]) -> list[Tensor]:
        """The mask before each draft and after the last; it stops before the first that may not
        come, or that ends the text. The state stays where it is.
        """
        ahead = State(self._matcher.deep_copy(), self._words)
        ahead._is_done = self._is_done
        masks = [ahead.mask()]
        for draft in drafts:
            if not 0 <= draft < len(masks[-1]) or not masks[-1][draft]:
                break
            try:
                ahead.accept(draft)
                if ahead.is_done:
                    break
                masks.append(ahead.mask())
            except ValueError:
                # too complex there: it matters only if the draft is what is drawn
                break
        return masks

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ValueError(f"the grammar cannot be followed: {_reason(self._matcher)}")


class Words:
    """A tokenizer as llguidance reads it, and which ids of the model's vocabulary are what."""

    def __init__(self, tokenizer: Tokenizer, vocab: int) -> None:
        try:
            from llguidance import LLTokenizer
        except ImportError:
            raise ValueError("grammars need llguidance: pip install 'flashling[serve]'") from None
        ends = tokenizer.eos_ids
        if not ends or max(ends) >= vocab:
            raise ValueError(f"the tokenizer's ends {ends} are no tokens of a model of {vocab}")
        # read by llguidance under these names
        self.tokens = [tokenizer.bytes_of(i) for i in range(vocab)]
        self.special_token_ids = [tokenizer.id(t) for t in tokenizer.specials]
        self.eos_token_id, self.bos_token_id = ends[0], None
        self.is_tokenizer_wrapper = True
        self.tokenizer = tokenizer
        self.is_end = torch.zeros(vocab, dtype=torch.bool)
        self.is_end[list(ends)] = True
        self.is_known = torch.tensor([bool(t) for t in self.tokens]) & ~self.is_end
        self.ll = LLTokenizer(self, n_vocab=vocab, eos_token=list(ends))  # pyright: ignore

    def __call__(self, text: str | bytes) -> list[int]:
        return self.tokenizer.encode(text if isinstance(text, str) else text.decode())


class Compiler:
    """Compiles grammars for one model, off the engine's thread, and keeps the latest.

    vocab: the model's. cache_bytes: for compiled grammars. deadline: seconds from submission.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        vocab: int,
        threads: int = 2,
        cache_bytes: int = 64 << 20,
        deadline: float = 5.0,
    ) -> None:
        self.cache_bytes, self.deadline, self.bytes_kept = cache_bytes, deadline, 0
        self._words = Words(tokenizer, vocab)
        self._kept: OrderedDict[Grammar, Compiled] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, "grammar", _stand_back)

    def submit(self, grammar: Grammar) -> Future[Compiled]:
        """The compiled grammar, soon. It fails with ValueError saying what is wrong, or that the
        deadline has passed.
        """
        future: Future[Compiled] = Future()
        if found := self._find(grammar):
            future.set_result(found)
            return future
        late = ValueError(f"the {grammar.kind} took longer than {self.deadline} s; simplify it")
        timer = threading.Timer(self.deadline, _settle, (future, late))
        timer.daemon = True
        future.add_done_callback(lambda _: timer.cancel())
        timer.start()
        self._pool.submit(self._work, grammar, future)
        return future

    def compile(self, grammar: Grammar) -> Compiled:
        """The compiled grammar, waited for."""
        return self.submit(grammar).result()

    def close(self) -> None:
        """Stop the threads; what is not yet begun is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(self, grammar: Grammar, future: Future[Compiled]) -> None:
        # nobody waits for what is late or cancelled
        if future.done():
            return
        try:
            found = self._find(grammar)
            if found is None:
                found = _build(grammar, self._words)
                self._keep(grammar, found)
            _settle(future, found)
        except ValueError as error:
            _settle(future, error)
        except Exception as error:
            _settle(future, ValueError(f"the {grammar.kind} cannot be compiled: {error}"))

    def _find(self, grammar: Grammar) -> Compiled | None:
        with self._lock:
            found = self._kept.get(grammar)
            if found is not None:
                self._kept.move_to_end(grammar)
            return found

    def _keep(self, grammar: Grammar, compiled: Compiled) -> None:
        if compiled.nbytes > self.cache_bytes:
            return
        with self._lock:
            before = self._kept.pop(grammar, None)
            self.bytes_kept += compiled.nbytes - (before.nbytes if before else 0)
            self._kept[grammar] = compiled
            while self.bytes_kept > self.cache_bytes:
                self.bytes_kept -= self._kept.popitem(last=False)[1].nbytes


def _settle(future: Future[Compiled], outcome: Compiled | ValueError) -> None:
    try:
        if isinstance(outcome, ValueError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:
        # the deadline and the work met, or it was cancelled
        pass


def _build(grammar: Grammar, words: Words) -> Compiled:
    matcher = _matcher(_rules(grammar, words), words)
    if grammar.kind == "tools" and _is_empty(matcher):
        # nothing satisfies the schema of a tool, which is no reason to refuse all of them
        alone = each_alone(grammar.text)
        rules = {n: tools_lark(text, words.tokenizer, COMPACT) for n, text in alone.items()}
        loose = [n for n, r in rules.items() if _is_empty(_matcher(_lark(r), words))]
        held = tools_lark(grammar.text, words.tokenizer, COMPACT, loose)
        matcher = _matcher(_lark(held), words)
    if matcher.is_error():
        raise ValueError(f"the {grammar.kind} cannot be compiled: {_reason(matcher)}")
    return Compiled(matcher, words, BASE_BYTES + BYTES_PER_BYTE * len(grammar.text))


def _rules(grammar: Grammar, words: Words) -> str:
    """A grammar in llguidance's own form."""
    from llguidance import LLMatcher

    if grammar.kind == "json_schema":
        return LLMatcher.grammar_from_json_schema(grammar.text, overrides=COMPACT)  # pyright: ignore
    if grammar.kind == "regex":
        return LLMatcher.grammar_from_regex(grammar.text)
    if grammar.kind == "tools":
        return _lark(tools_lark(grammar.text, words.tokenizer, COMPACT))
    return _lark(grammar.text)


def _stand_back() -> None:
    """Let the engine have the processor before this thread, which compiles for seconds."""
    if sys.platform == "linux":
        # there a thread has a priority of its own, by the number that the system knows it by
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


def _lark(rules: str) -> str:
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_lark(rules)


def _matcher(rules: str, words: Words) -> LLMatcher:
    from llguidance import LLMatcher, LLParserLimits

    limits = LLParserLimits(max_lexer_states=MAX_LEXER_STATES, verbose_errors=False)
    matcher = LLMatcher(words.ll, rules, log_level=0, limits=limits)
    if not matcher.is_error():
        # the first mask finds grammars that nothing satisfies
        matcher.compute_bitmask()
    return matcher


def _is_empty(matcher: LLMatcher) -> bool:
    return "Unsatisfiable schema" in matcher.get_error()


def _reason(matcher: LLMatcher) -> str:
    text = matcher.get_error().removesuffix("<non-verbose/>").strip()
    if text.startswith("NoExtension"):
        return "no text satisfies it"
    return text if len(text) < 300 else f"{text[:150]} ... {text[-100:]}"
