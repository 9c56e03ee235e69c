"""The words that names are made of."""

import re

from flashling.tasks.shell import rare
from flashling.text.tokenizer import Tokenizer
from flashling.train.nano import TOKENIZER


def test_every_word_of_the_vocabulary_is_copied_now_and_then() -> None:
    t = Tokenizer.read(TOKENIZER)
    texts = (t.decode([i], skip_special=False).strip() for i in range(t.vocab_size))
    assert {x for x in texts if re.fullmatch("[A-Za-z]{3,}", x)} <= set(rare.words())


def test_the_common_characters_are_those_of_gb_2312() -> None:
    assert len(rare.COMMON) == len(set(rare.COMMON)) == 3755
    assert rare.COMMON[0] == "啊" and rare.COMMON[-1] == "座"
