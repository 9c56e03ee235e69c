"""What the server counts, as Prometheus reads it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping

from .turn import Turn

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)
Labels = tuple[tuple[str, str], ...]
HELP = {
    "requests_total": "Requests that the engine took, by how they ended.",
    "refused_total": "Requests that were refused, by status.",
    "prompt_tokens_total": "Tokens of prompts.",
    "cached_tokens_total": "Tokens of prompts that were still held, by tier.",
    "generation_tokens_total": "Tokens of answers.",
    "cache_hits_total": "Prompts of which a part was still held, by tier.",
    "cache_misses_total": "Prompts of which more could have been held, by the reason.",
    "draft_tokens_total": "Tokens guessed ahead.",
    "draft_accepted_total": "Tokens guessed ahead and kept.",
}


class Histogram:
    """Counts of values by upper bounds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str) -> Iterator[str]:
        """Its text."""
        total = 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self.sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """All counters of a server. Only its event loop touches them."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[Labels, float]] = {name: defaultdict(float) for name in HELP}
        self._times = {
            "time_to_first_token_seconds": Histogram(SECONDS),
            "time_per_output_token_seconds": Histogram(TOKEN_SECONDS),
            "request_seconds": Histogram(SECONDS),
        }

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._counts[name][tuple(sorted(labels.items()))] += value

    def record(self, turn: Turn) -> None:
        """Count a turn that is over."""
        for i in range(turn.asked.samples):
            self.count("requests_total", finish=turn.finishes.get(i, "abort"))
        self.count("prompt_tokens_total", turn.prompt_tokens)
        self.count("generation_tokens_total", turn.output_tokens)
        self._times["request_seconds"].add(turn.ended - turn.began)
        if turn.first:
            self._times["time_to_first_token_seconds"].add(turn.first - turn.began)
        if turn.output_tokens > turn.asked.samples:
            each = turn.asked.samples * (turn.ended - turn.first)
            each /= turn.output_tokens - turn.asked.samples
            self._times["time_per_output_token_seconds"].add(each)
        if (cost := turn.cost) is None:
            return
        if cost.cached:
            self.count("cache_hits_total", tier=cost.restored_from)
            self.count("cached_tokens_total", cost.cached, tier=cost.restored_from)
        if cost.miss_reason:
            # the reason without the places in the text
            reason = cost.miss_reason.split(" at ")[0].split(" between ")[0]
            self.count("cache_misses_total", reason=reason)
        self.count("draft_tokens_total", cost.drafted)
        self.count("draft_accepted_total", cost.accepted)

    def text(self, gauges: Mapping[str, float]) -> str:
        """All of it in Prometheus' text form, with the gauges of this moment, whose names may carry
        labels.
        """
        names = dict.fromkeys(name.partition("{")[0] for name in gauges)
        lines = [f"# TYPE flashling_{name} gauge" for name in names]
        lines += [f"flashling_{name} {value}" for name, value in gauges.items()]
        for name, said in HELP.items():
            lines += [f"# HELP flashling_{name} {said}", f"# TYPE flashling_{name} counter"]
            for labels, value in self._counts[name].items() or [((), 0.0)]:
                told = ",".join(f'{k}="{v}"' for k, v in labels)
                lines.append(f"flashling_{name}{{{told}}} {value:.0f}")
        for name, histogram in self._times.items():
            lines.append(f"# TYPE flashling_{name} histogram")
            lines += histogram.lines(f"flashling_{name}")
        return "\n".join(lines) + "\n"
