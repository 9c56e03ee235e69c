"""The rows of a step that are followed by a draw, as the sampler takes them."""

from __future__ import annotations

from collections.abc import Sequence as Items

from torch import Tensor

from ..ops import Draw
from .request import Sequence


def draws(s: Sequence, drafts: Items[int], vocab: int) -> list[Draw]:
    """How to draw after the sequence's last token and after each draft, as if those before it had
    been drawn; as far as its grammar lets the drafts come. ValueError where that cannot be followed
    or is of another vocabulary.
    """
    masks = [None] * (1 + len(drafts)) if s.guide is None else _masks(s, drafts, vocab)
    settings, out, sample = s.request.sampling, s.out, s.request.sample
    return [
        Draw(settings, s.prompt, [*out, *drafts[:i]] if i else out, sample, mask)
        for i, mask in enumerate(masks)
    ]


def _masks(s: Sequence, drafts: Items[int], vocab: int) -> Items[Tensor]:
    assert s.guide is not None
    masks = s.guide.draft_masks(drafts) if drafts else [s.guide.mask()]
    for mask in masks:
        if mask.shape != (vocab,):
            raise ValueError(f"a mask of {len(mask)} tokens for a vocabulary of {vocab}")
    return masks
