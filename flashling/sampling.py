"""Sampling: how the next token is drawn, as a request states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sampling:
    """Settings of one request, applied in the order penalties, bias, temperature, top-k, top-p,
    min-p. `temperature` 0 takes the likeliest token. `logprobs` asks for that many alternatives.
    `stop`: texts before which an answer is cut off; only who makes text of tokens (LLM) reads them.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    max_tokens: int = 256
    min_tokens: int = 0
    stop_ids: tuple[int, ...] = ()
    logprobs: int = 0
    stop: tuple[str, ...] = ()

    @property
    def is_cut(self) -> bool:
        """Whether top-k, top-p or min-p can leave tokens out."""
        return self.temperature > 0 and (self.top_k > 0 or self.top_p < 1 or self.min_p > 0)

    @property
    def is_plain(self) -> bool:
        """Whether a draw takes the logits as they are and tells its token alone: no penalty, bias,
        early stop or alternatives.
        """
        is_penalised = self.presence_penalty or self.frequency_penalty
        is_penalised = is_penalised or self.repetition_penalty != 1 or self.logit_bias
        return not (is_penalised or self.logprobs or (self.min_tokens and self.stop_ids))

    def __post_init__(self) -> None:
        limits = {
            "temperature": (0.0, 100.0),
            "top_p": (0.0, 1.0),
            "top_k": (0, 1 << 31),
            "min_p": (0.0, 1.0),
            "repetition_penalty": (1e-3, 1e3),
            "presence_penalty": (-1e3, 1e3),
            "frequency_penalty": (-1e3, 1e3),
            "seed": (0, (1 << 64) - 1),
            "max_tokens": (1, 1 << 31),
            "min_tokens": (0, 1 << 31),
            "logprobs": (0, 1 << 10),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            # a NaN compares false with everything, so ask for what must hold
            if not low <= value <= high:
                raise ValueError(f"{name} {value!r} must lie between {low} and {high}")
        if self.top_p == 0.0:
            raise ValueError("top_p 0 keeps no token; use temperature 0 for the likeliest one")
        if isinstance(self.stop, str) or not all(isinstance(s, str) and s for s in self.stop):
            raise ValueError(f"stop {self.stop!r} must be a tuple of texts that are not empty")
