"""Held-out loss, for a recipe's `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from ..model.ling import Ling
from ..model.past import Fresh
from .data import pack
from .loss import losses
from .shards import Document
from .source import Held


def held_out(
    documents: Iterable[Document], tokens: int = 16_384
) -> Callable[[Ling], dict[str, float]]:
    """A function of the model: mean next-token loss (nats) and accuracy over all `documents`,
    about `tokens` at a time, as {"held_out_loss", "held_out_accuracy"}.
    """
    batches, room = [[]], tokens
    for document in Held(list(documents)).documents:
        if batches[-1] and len(document[0]) > room:
            batches.append([])
            room = tokens
        batches[-1].append(document)
        room -= len(document[0])

    def evaluate(model: Ling) -> dict[str, float]:
        device = model.head.device
        sums, targets = torch.zeros(2, dtype=torch.float64), 0
        for documents in batches:
            packed = pack(documents)
            packed.batch = packed.batch.to(device)
            packed.following = packed.following.to(device)
            packed.past = Fresh(packed.batch)
            found = losses(model, packed, torch.ones((), device=device))
            sums += torch.stack([found.following.double(), found.right.double()]).cpu()
            targets += found.num_following
        loss, right = (sums / max(targets, 1)).tolist()
        return {"held_out_loss": loss, "held_out_accuracy": right}

    return evaluate
