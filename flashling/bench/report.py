"""What the samples of a run say: rates, percentiles, a file and a plot."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .load import Sample

PERCENTILES = (50, 90, 95, 99)
TITLES = {
    "ttft": "time to the first token",
    "tpot": "time per token after it",
    "total": "end to end",
}


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of the values do not exceed (nearest rank); NaN of
    none.
    """
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def times(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """Seconds of the requests that did not fail, by kind."""
    good = [s for s in samples if not s.error]
    return {
        "ttft": [s.ttft for s in good],
        "tpot": [t for s in good if (t := s.tpot) is not None],
        "total": [s.total for s in good],
    }


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Figures of a run as plain data: counts, tokens, rates a second, times in seconds."""
    seconds = max((s.ended for s in samples), default=0.0) - min(
        (s.due for s in samples), default=0.0
    )
    good = [s for s in samples if not s.error]
    tokens = {
        name: sum(getattr(s, f"{name}_tokens") for s in good)
        for name in ("input", "cached", "output")
    }
    found = {}
    for kind, values in times(samples).items():
        found[kind] = {f"p{p}": _plain(percentile(values, p)) for p in PERCENTILES}
        found[kind]["mean"] = sum(values) / len(values) if values else None
        found[kind]["max"] = max(values, default=None)
    return {
        "requests": len(samples),
        "errors": dict(Counter(s.error for s in samples if s.error)),
        "seconds": seconds,
        "tokens": tokens,
        "requests_per_second": len(good) / seconds if seconds else 0.0,
        "output_tokens_per_second": tokens["output"] / seconds if seconds else 0.0,
        "times": found,
    }


def goodput(samples: Sequence[Sample], ttft: float, tpot: float) -> tuple[float, float]:
    """The share of requests that kept to both limits in seconds, and how many a second did."""
    kept = [s for s in samples if not s.error and s.ttft <= ttft and (s.tpot or 0.0) <= tpot]
    seconds = summary(samples)["seconds"]
    return len(kept) / max(len(samples), 1), len(kept) / seconds if seconds else 0.0


def rows(found: dict[str, Any]) -> list[list[str]]:
    """The table of percentiles in milliseconds, its head first."""
    names = [f"p{p}" for p in PERCENTILES] + ["mean", "max"]
    table = [["milliseconds", *names]]
    for kind, title in TITLES.items():
        values = [found["times"][kind][n] for n in names]
        table.append([title, *("-" if v is None else f"{v * 1e3:,.1f}" for v in values)])
    return table


def sentences(found: dict[str, Any]) -> list[str]:
    """The counts and rates in words, and each kind of error."""
    tokens = found["tokens"]
    lines = [
        f"{found['requests']:,} requests in {found['seconds']:.1f} s "
        f"({found['requests_per_second']:.2f}/s), {sum(found['errors'].values()):,} errors",
        f"{tokens['input']:,} tokens in ({tokens['cached']:,} held), {tokens['output']:,} out "
        f"({found['output_tokens_per_second']:,.1f}/s)",
    ]
    return lines + [f"{count} x {error}" for error, count in found["errors"].items()]


def plot(samples: Sequence[Sample], target: Path, title: str) -> None:
    """Draw how the times are spread, as a PNG file; needs matplotlib."""
    import matplotlib  # pyright: ignore[reportMissingImports]

    matplotlib.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    figure, panels = pyplot.subplots(1, 3, figsize=(11, 3.4), constrained_layout=True, sharey=True)
    figure.suptitle(title)
    for panel, (kind, values) in zip(panels, times(samples).items(), strict=True):
        shares = [100 * (i + 1) / len(values) for i in range(len(values))]
        panel.step([v * 1e3 for v in sorted(values)], shares, where="post")
        panel.set(xlabel=f"{TITLES[kind]} (ms)", ylim=(0, 100), xlim=(0, None))
        panel.grid(color="#e4e4e4")
    panels[0].set_ylabel("requests (%)")
    figure.savefig(target, dpi=160)
    pyplot.close(figure)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
