"""The weight table against the published counts, and against the model's own tensors."""

from __future__ import annotations

import math

import pytest
import torch

from flashling.config import LING_1T, LING_FLASH, LING_MINI, TOY, ModelConfig
from flashling.model.ling import Ling
from flashling.model.names import is_mtp, published


def test_published_counts() -> None:
    table = published(LING_FLASH)
    assert len(table) == 25_015
    assert sum(math.prod(t.shape) for t in table) == 107_494_409_216
    main = published(LING_FLASH, mtp=False)
    assert len(main) == 24_229
    assert sum(math.prod(t.shape) for t in main) == 104_186_915_584
    assert len({t.name for t in table}) == len(table)
    assert sum(is_mtp(LING_FLASH, t.name) for t in table if "layers" in t.name) == 786


@pytest.mark.parametrize(
    "config", [TOY, LING_FLASH, LING_1T, LING_MINI, TOY.with_(q_lora_rank=None)]
)
def test_slices_tile_every_tensor_once(config: ModelConfig) -> None:
    with torch.device("meta"):
        model = Ling(config)
    own = model.state_dict()
    parts: dict[str, list[tuple[int, int, int]]] = {}
    table = published(config)
    stacks = {t.param for t in table if t.expert is not None}
    for t in table:
        assert t.view(own).shape == t.shape, t
        rows = t.rows or (0, t.view(own).shape[0])
        parts.setdefault(t.param, []).append((t.expert or 0, *rows))
    assert parts.keys() == own.keys()
    for name, spans in parts.items():
        whole = own[name]
        per_expert: dict[int, list[tuple[int, int]]] = {}
        for e, a, b in spans:
            per_expert.setdefault(e, []).append((a, b))
        stacked = name in stacks
        assert sorted(per_expert) == list(range(len(whole) if stacked else 1))
        for pieces in per_expert.values():
            at = 0
            for a, b in sorted(pieces):
                assert a == at
                at = b
            assert at == whole.shape[1 if stacked else 0]
