"""First light: one decode step and one prefill of the full model, random e4m3 weights.

`python3 -m benchmarks.light [check] [decode] [prefill] [profile] [out=FOLDER] [layers=N]` on one
GPU. Random weights prove speed and equality, never quality.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

from flashling.bench.engine.recipes import RECIPES, random_model
from flashling.config import LING_FLASH, ModelConfig
from flashling.engine.runner import Runner
from flashling.model.ling import Ling
from flashling.ops.device import slug
from flashling.ops.op import using

from .ops import about

BATCHES, CONTEXT, PROMPT = (1, 4, 64, 256), 4096, 8192
# different prompts that are read; other slots begin as copies of theirs, with tokens of their own
PROMPTS = 32
STEPS = 192
# the median relative error of a row that kernels may have beside bodies. A first product differs
# by d = 0.2 to 0.4 %, the rounding of its bfloat16 outputs and of the tensor cores' sums. e4m3
# numbers lie 9 % apart, so that quantising it moves d / 9 % of them by one step: an error of
# sqrt(9 % d). That is 2 to 3 % after one more product, and twice that after MLA's two more
MOST_APART = {"Lightning mixer": 4e-2, "Mla mixer": 8e-2, "ffn": 5e-2}

Report = dict[str, Any]


def prompt(length: int, seed: int, vocab: int) -> torch.Tensor:
    """Random tokens [length]."""
    return torch.randint(0, vocab, (length,), generator=torch.Generator().manual_seed(seed))


def check(device: torch.device, blocks: bool) -> Report:
    """One group of 8 layers at true width: kernels beside bodies, layer by layer.

    Every layer of the kernels is given what the bodies' layer was given, 290 rows as a prompt and
    then 10 as decode steps: otherwise a router that picks another expert for want of a bit hides
    all that comes after it. The relative errors of a layer's mixer and feed-forward rows: median,
    and the largest of all but one in a hundred.
    """
    config = LING_FLASH.with_(num_hidden_layers=8, num_nextn_predict_layers=0)
    model = random_model(config, device, RECIPES["fp8" if blocks else "fp8-channel"])
    tokens = prompt(300, 1, config.vocab_size)
    given = _layers(model, tokens, "body", [])
    found = _layers(model, tokens, "cuda", [x[:2] for x in given])
    report: Report = {"layers": [], "most_apart": MOST_APART, "ok": True}
    for i in range(config.num_hidden_layers):
        row: Report = {}
        for rows, calls in (("prompt", [i]), ("decode", range(8 + i, 88, 8))):
            for part, name in ((2, "mixer"), (3, "ffn")):
                x, y = (torch.cat([f[c][part] for c in calls]) for f in (found, given))
                errors = (x - y).norm(dim=-1) / y.norm(dim=-1)
                if name == "mixer":
                    name = f"{type(model.layers[i].mixer).__name__} mixer"
                row[f"{rows} {name}"] = [float(f"{errors.quantile(q):.1e}") for q in (0.5, 0.99)]
                report["ok"] &= bool(errors.median() <= MOST_APART[name])
        report["layers"].append(row)
    return report


def _layers(
    model: Ling, tokens: torch.Tensor, how: str, given: Sequence[Sequence[torch.Tensor]]
) -> list[tuple[torch.Tensor, ...]]:
    """Of each call of a layer: x and delta as it took them (as `given`, in the order of the calls,
    where there are any), and what its mixer and its feed-forward made of them, float32.
    """
    seen: list[tuple[torch.Tensor, ...]] = []
    wanted = iter(given)

    def before(_: Any, arguments: Any) -> Any:
        own = next(wanted, arguments[:2])
        return *own, *arguments[2:]

    def after(_: Any, arguments: Any, out: Any) -> None:
        (x, delta), (total, ffn) = arguments[:2], out
        seen.append((x, delta, total.float() - (x + delta).float(), ffn.float()))

    hooks = [m.register_forward_pre_hook(before) for m in model.layers]
    hooks += [m.register_forward_hook(after) for m in model.layers]
    runner = Runner(model, 2, 512)
    at = torch.tensor([1], device=runner.device)
    with using(how):
        runner.fill([tokens[:-10]], [1])
        for token in tokens[-10:]:
            runner.tokens[1] = token
            runner.step(at)
    for hook in hooks:
        hook.remove()
    return seen


def fill(runner: Runner, batch: int, config: ModelConfig) -> None:
    """CONTEXT tokens in each of `batch` slots, from PROMPTS different prompts."""
    rows, cache, device = runner.rows, runner.rows.cache, runner.device
    for slot in range(min(batch, PROMPTS)):
        runner.fill([prompt(CONTEXT, slot, config.vocab_size)], [slot])
    pages = rows.pages
    for slot in range(PROMPTS, batch):
        source = slot % PROMPTS
        cache.state[slot], cache.tail[slot] = cache.state[source], cache.tail[source]
        cache.pages[slot * pages :][:pages] = cache.pages[source * pages :][:pages]
        rows.lengths[slot], rows.tails[slot] = rows.lengths[source], rows.tails[source]
    # phases spread over the chunk, as of sequences that did not begin together
    runner.tokens[:] = prompt(len(runner.tokens), 7, config.vocab_size).to(device)


def spread(runner: Runner, batch: int) -> None:
    """Open chunks of all lengths instead of one: sequences that did not begin together."""
    cut = torch.arange(batch, dtype=torch.int32, device=runner.device) * 37 % 64
    runner.rows.lengths[:batch] -= cut
    runner.rows.tails[:batch] -= cut


def decode(model: Ling, batch: int) -> Report:
    """Replays of one graph: a step of `batch` sequences after CONTEXT tokens each."""
    config = model.config
    runner = Runner(model, batch, CONTEXT + STEPS + 64)
    graph = runner.record()
    fill(runner, batch, config)
    spread(runner, batch)
    for _ in range(3):
        graph.replay()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(STEPS + 1)]
    marks[0].record()
    for mark in marks[1:]:
        graph.replay()
        mark.record()
    torch.cuda.synchronize()
    times = sorted(a.elapsed_time(b) for a, b in zip(marks, marks[1:], strict=False))
    tokens = runner.tokens[:batch]
    report = {
        "batch": batch,
        "ms_mean": mean(times),
        "ms_median": median(times),
        "ms_p99": times[int(len(times) * 0.99)],
        "tokens_per_s": 1e3 * batch / mean(times),
        "distinct_tokens": tokens.unique().numel(),
        "finite": all(bool(torch.isfinite(s).all()) for s in runner.rows.cache.state[:batch]),
    }
    return report


def prefill(model: Ling, length: int = PROMPT) -> Report:
    """Reading one prompt into an empty slot, the first token included."""
    runner = Runner(model, 1, length)
    times = []
    for n in range(6):
        tokens = prompt(length, 100 + n, model.config.vocab_size)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        runner.fill([tokens], [0])
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    ms = median(times[1:])
    return {"tokens": length, "ms": ms, "tokens_per_s": 1e3 * length / ms, "all_ms": times}


def profile(model: Ling, batch: int | None) -> list[tuple[str, int, float]]:
    """Kernels of one decode step (of `batch`), or of one prefill: name, count, milliseconds."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    size = CONTEXT + 256 if batch else PROMPT
    runner = Runner(model, batch or 1, size)
    at = torch.arange(batch or 1, device=runner.device)
    tokens = prompt(CONTEXT if batch else PROMPT, 3, model.config.vocab_size)
    if batch:
        fill(runner, batch, model.config)
    else:
        runner.fill([tokens], [0])
    for _ in range(2):
        runner.step(at) if batch else runner.fill([tokens], [0])
    with watch(activities=[ProfilerActivity.CUDA]) as seen:
        runner.step(at) if batch else runner.fill([tokens], [0])
        torch.cuda.synchronize()
    rows = [(e.key, e.count, e.device_time_total / 1e3) for e in seen.key_averages()]
    return sorted(rows, key=lambda r: -r[2])


def experts_spread(model: Ling) -> Report:
    """How evenly 8,192 random tokens go to experts: load of the fullest over the mean, by layer,
    beside what uniform routing gives.
    """
    from flashling import ops
    from flashling.model.moe import Moe

    loads: list[torch.Tensor] = []
    layers = [m for m in model.modules() if isinstance(m, Moe)]

    def watch(m: Moe, given: Sequence[Any]) -> None:
        _, chosen = ops.route(given[0], m.router, m.bias, m.choice)
        loads.append(ops.expert_load(chosen, len(m.router)).float())

    hooks = [m.register_forward_pre_hook(watch) for m in layers]
    Runner(model, 1, PROMPT).fill([prompt(PROMPT, 5, model.config.vocab_size)], [0])
    for hook in hooks:
        hook.remove()
    over = [float(x.max() / x.mean()) for x in loads]
    uniform = torch.rand(PROMPT, 256).topk(8).indices.flatten().bincount(minlength=256).float()
    return {
        "fullest_over_mean": [round(x, 2) for x in over],
        "uniform": round(float(uniform.max() / uniform.mean()), 2),
        "idle_experts": [int((x == 0).sum()) for x in loads],
    }


def main(*arguments: str) -> int:
    """Measure; 1 if a check failed."""
    options = dict(a.split("=", 1) for a in arguments if "=" in a)
    parts = [a for a in arguments if "=" not in a] or ["check", "decode", "prefill", "profile"]
    device = torch.device("cuda")
    blocks = options.get("scales") == "blocks"
    facts = about(device) | {"command": " ".join(["python3 -m benchmarks.light", *parts])}
    report: Report = {"about": facts, "weights": "random: speed only", "blocks": blocks}
    print(json.dumps(report["about"]), flush=True)
    if "check" in parts:
        report["check"] = check(device, blocks)
        print(json.dumps(report["check"], indent=1), flush=True)
        if not report["check"]["ok"]:
            return 1
    if set(parts) - {"check"}:
        layers = int(options.get("layers", LING_FLASH.num_hidden_layers))
        config = LING_FLASH.with_(num_hidden_layers=layers)
        model = random_model(config, device, RECIPES["fp8" if blocks else "fp8-channel"])
        try:
            _measure(model, parts, report)
        finally:
            _write(report, options)
    _write(report, options)
    return 0


def _write(report: Report, options: dict[str, str]) -> None:
    out = Path(options.get("out", Path(__file__).parent / "results"))
    name = f"light-{slug(report['about']['device'])}{'-blocks' if report['blocks'] else ''}.json"
    (out / name).write_text(json.dumps(report, indent=1) + "\n")


def _measure(model: Ling, parts: Sequence[str], report: Report) -> None:
    report["experts"] = experts_spread(model)
    print(json.dumps(report["experts"]), flush=True)
    if "prefill" in parts:
        report["prefill"] = prefill(model)
        print(json.dumps(report["prefill"]), flush=True)
    if "decode" in parts:
        report["decode"] = []
        for batch in BATCHES:
            report["decode"].append(decode(model, batch))
            # the next graph's memory is another's
            torch.cuda.empty_cache()
            print(json.dumps(report["decode"][-1]), flush=True)
    if "profile" in parts:
        report["profile"] = {}
        for batch in (1, 64, None):
            rows = profile(model, batch)
            report["profile"][str(batch or "prefill")] = rows[:40]
            print(f"kernels of {batch or 'prefill'}: {sum(r[2] for r in rows):.2f} ms")
            for name, count, ms in rows[:24]:
                print(f"  {ms:8.3f} ms {count:5}  {name[:90]}", flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
