"""`flashling bench engine` at toy size: the plumbing, and what is counted; never speed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import figures, full_size, full_size_charts, served, twin
from flashling.bench.engine import decode, drafts, prefill, timing
from flashling.bench.engine.ready import ready
from flashling.bench.engine.recipes import RECIPES, random_model
from flashling.bench.engine.run import is_old
from flashling.cli.app import main
from flashling.config import LING_FLASH, TOY, ModelConfig
from flashling.engine.costs import Costs
from flashling.engine.runner import Runner
from flashling.model.ling import Ling
from flashling.model.packed import to_fp8

CPU = torch.device("cpu")
TRACES = "Where the gap lies", "Where the time goes"
CELLS = ["batches=1,2", "contexts=128", "prompts=100"]


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "STEPS", 4)
    monkeypatch.setattr(decode, "TRACED", 1)


def rows(folder: Path) -> dict:
    [file] = folder.glob("engine-*.json")
    return json.loads(file.read_text("utf-8"))


def test_the_command_writes_rows_tables_and_charts(
    few_steps: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["model=toy", *CELLS, f"out={tmp_path}", "commit=first"]
    assert twin.main(words, twin.ALL) == 0
    found = rows(tmp_path)
    parts = ("memory", "errors", "decode", "prefill", "twin", "drafts", "exact")
    assert {p: len(found[p]) for p in parts} == {
        "memory": len(RECIPES),
        "errors": len(RECIPES),
        "decode": 4,
        "prefill": 1,
        "twin": 3,
        # three numbers of tokens that one draft can give, four of two and of three
        "drafts": 2 * (3 + 4 + 4),
        # both batches and the prompt
        "exact": 3,
    }
    assert all(r["times"] == r["exact_ms"] / r["fast_ms"] for r in found["exact"])
    cell = found["decode"][2]
    assert (cell["batch"], cell["context"], cell["routing"]) == (2, 128, "random")
    assert cell["of_limit"] == pytest.approx(cell["limit_ms"] / cell["ms_mean"])
    assert found["trace"][0]["ms_by_op"] and found["runs"][0]["model"] == "toy"
    # a second run takes the place of its own cells alone
    assert main(["bench", "engine", "decode", *words, "batches=2", "commit=other"]) == 0
    again = rows(tmp_path)
    assert sorted((r["batch"], r["run"]) for r in again["decode"]) == [(1, 0)] * 2 + [(2, 1)] * 2
    assert again["prefill"] == found["prefill"]
    [file] = tmp_path.glob("*.json")
    page = full_size.page(file)
    assert all(f"## {title}\n" in page for title, *_ in full_size.SECTIONS)
    assert "Measured at first. Others at other: fp8-channel, step of 2 at 128." in page
    pytest.importorskip("matplotlib")
    for name, draw in full_size_charts.CHARTS.items():
        draw(file, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_what_cannot_run_is_told(
    few_steps: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["bench", "engine", "model=toy", *CELLS, f"out={tmp_path}"]
    assert main([*words, "decode", "batches=100000000"]) == 0
    assert rows(tmp_path)["decode"][0]["missing_bytes"] > 1e12
    capsys.readouterr()
    assert main([*words, "decode", "prefill", "seconds=0"]) == 0
    assert "the time is over: decode is left out" in capsys.readouterr().out
    assert main([*words, "fly"]) == 1
    assert "no part 'fly'; there are: recipes, decode" in capsys.readouterr().err

    def breaks(runner: Runner) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(decode, "noise", breaks)
    assert main([*words, "decode", "prefill"]) == 1
    found = rows(tmp_path)
    assert found["decode"][1]["error"] == "RuntimeError: out of memory"
    assert found["prefill"][0]["ttft_ms"] > 0
    assert "failed" in full_size.page(next(tmp_path.glob("*.json")))


def test_every_chart_is_shown_somewhere() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    text = readme + full_size.page() + served.page()
    assert not [name for name in figures.SOURCES if f"figures/{name}.png" not in text]


def test_a_row_takes_the_place_of_what_it_tells_anew() -> None:
    cell = {"recipe": "int4", "batch": 2, "context": 128}
    plain, skewed = ({**cell, "routing": r, "run": 0} for r in ("random", "bias 0.15"))
    missing, failed = {**cell, "missing_bytes": 1, "run": 0}, {**cell, "error": "x", "run": 0}
    later = {"run": 1}
    assert is_old(plain, plain | later) and not is_old(plain, skewed | later)
    # what fits now, and what fails now
    assert is_old(missing, plain | later) and is_old(skewed, failed | later)
    # of one run both stay: the first figures, and the error that came after them
    assert not is_old(plain, failed)
    assert not is_old(missing, plain | later | {"batch": 4})


def test_noise_is_like_what_a_prompt_leaves(config: ModelConfig) -> None:
    # so many tokens that hardly one comes twice
    config = config.with_(vocab_size=16_384)
    model = random_model(config, CPU, RECIPES["bf16"])
    real, noise = Runner(model, 1, 1024), Runner(model, 1, 1024)
    draw = torch.Generator().manual_seed(0)
    real.fill([torch.randint(0, config.vocab_size, (1000,), generator=draw)], [0])
    decode.noise(noise)
    tail = 1000 % 64
    for want, found in (
        (real.rows.cache.state[0].std((-2, -1)), noise.rows.cache.state[0].std((-2, -1))),
        (real.rows.cache.tail[0, :, :, :tail].float().std(), torch.tensor(1.0)),
        (real.rows.cache.pages[:15].float().std(), noise.rows.cache.pages.float().std()),
    ):
        # what tokens have in common adds up in the slowest heads
        assert (found / want).min() > 1 / 3 and (found / want).max() < 1.6, (want, found)


def test_bytes_are_those_of_the_tensors(config: ModelConfig) -> None:
    model = random_model(config, CPU, RECIPES["int4-fp8"])
    layers = [config.num_experts] * (config.num_hidden_layers - 1)
    read = decode.bytes_read(model, decode.Cell(3, 256), [float(n) for n in layers])
    loads = sum(b.nbytes for n, b in model.named_buffers() if n.endswith(".load"))
    held = sum(x.nbytes for x in [*model.parameters(), *model.buffers()]) - loads
    assert read["weights"] + read["experts"] == held - model.embed.weight.nbytes
    half = decode.bytes_read(model, decode.Cell(3, 256), [n / 2 for n in layers])
    assert half["experts"] == read["experts"] / 2
    cache = Runner(model, 3, 256).rows.cache
    assert read["states"] == pytest.approx(cache.state[:3].nbytes * (1 + 1 / 64))
    assert read["tails"] == pytest.approx(cache.tail[:3].nbytes * 32.5 / 64)
    assert 200 < read["latents"] / cache.pages[0, :, 0].nbytes / len(config.mla_layers) < 999


def test_experts_are_counted_and_routing_is_skewed() -> None:
    config = TOY.with_(num_experts=64, num_nextn_predict_layers=0)
    model = random_model(config, CPU, RECIPES["bf16"])
    counts = {}
    for batch, skew in ((1, 0.0), (32, 0.0), (32, 2.0)):
        runner = Runner(model, batch, 512)
        decode.noise(runner)
        with decode.skewed(model, skew):
            decode.spread(runner, 256)
            counts[batch, skew] = sum(decode.distinct_experts(runner)) / 3
    assert counts[1, 0.0] == config.num_experts_per_tok
    assert counts[1, 0.0] < counts[32, 2.0] < counts[32, 0.0]
    assert not model.layers[1].ffn.bias.any()


def test_acceptance_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "STEPS", 40)
    model = random_model(TOY, CPU, RECIPES["bf16"])
    assert not len(model.mtp)
    for tokens, k in ((1.0, 3), (1.6, 1), (2.5, 2), (2.5, 3)):
        p = drafts.rate_of(tokens, k)
        assert sum(p**i for i in range(k + 1)) == pytest.approx(tokens, abs=1e-6)
    with drafts.with_mtp(model, RECIPES["bf16"]):
        assert len(model.mtp) == 1
        found = list(drafts.measure(model, decode.Cell(4, 128), 3))
    assert not len(model.mtp) and model.config.num_nextn_predict_layers == 0
    assert [r["forced"] for r in found] == list(drafts.FORCED)
    each = [r["tokens_per_step"] for r in found]
    # none is taken behind a chunk's end
    assert each[0] == 1.0 and each == pytest.approx(drafts.FORCED, rel=0.12)
    assert found[3]["break_even"] == found[3]["ms_mean"] / found[3]["plain_ms"]
    assert len(found[0]["distinct_experts"]) == TOY.num_hidden_layers - 1


def test_what_is_missing_is_counted_to_the_byte() -> None:
    cell, costs = decode.Cell(256, 32_768), Costs.of(LING_FLASH.with_(num_nextn_predict_layers=0))
    need = cell.missing(LING_FLASH, 0)
    assert cell.missing(LING_FLASH, need) == 0 and cell.missing(LING_FLASH, need - 1) == 1
    assert need > 256 * (costs.slot + 32_768 * costs.token)
    need = prefill.missing(LING_FLASH, 131_072, 0)
    assert prefill.missing(LING_FLASH, 131_072, need - 1) == 1
    # 28 layers of 4 heads of keys and values of 128 in 16 bits, and 4 of latents
    assert twin.token_bytes(LING_FLASH.with_(num_nextn_predict_layers=0)) == 57_344 + 4_608
    assert twin.missing(LING_FLASH, 10, 0, 5) == 10 * twin.token_bytes(LING_FLASH) + 5


@torch.no_grad()
def last_row(read: prefill.Read, tokens: torch.Tensor, *sizes: int) -> torch.Tensor:
    """The last row of a prompt that is read in chunks of these sizes."""
    first, row = 0, torch.empty(0)
    for chunk in tokens.split(sizes):
        row = read(chunk, first)
        first += len(chunk)
    return row


@pytest.mark.parametrize("is_twin", [False, True])
def test_chunks_and_single_rows_read_what_a_whole_prompt_reads(is_twin: bool) -> None:
    model = Ling(TOY.with_(initializer_range=0.3, num_nextn_predict_layers=0)).init_weights(0)
    tokens = torch.randint(0, 256, (150,), generator=torch.Generator().manual_seed(0))
    kept = [layer.mixer for layer in model.layers]
    with twin.twinned(model, RECIPES["bf16"]):
        assert [layer.mixer for layer in model.layers] != kept
        make = twin.Reader
        if not is_twin:
            for layer, mixer in zip(model.layers, kept, strict=True):
                layer.mixer = mixer
            make = prefill.Reader
        model.cast(torch.float32)
        want = last_row(make(model, 150), tokens, 150)
        for sizes in ([64, 86], [37, 91, 1, 1, 20], [149, 1]):
            found = last_row(make(model, 150), tokens, *sizes)
            torch.testing.assert_close(found, want, rtol=1e-3, atol=1e-3)
        # the first token counts at the end
        other = tokens.clone()
        other[0] += 1
        assert not torch.allclose(last_row(make(model, 150), other, 64, 86), want, atol=1e-2)
    assert [layer.mixer for layer in model.layers] == kept


@pytest.mark.parametrize(
    ("kernel", "op"),
    [
        ("_many_gate_up_kernel", "experts"),
        ("_attend_part", "mla"),
        ("_decode", "lightning"),
        ("nvjet_sm90_tst_256x8_64x6_2x1_v_bz_TNT", "matmul (library)"),
        (
            "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<192,",
            "attention (library)",
        ),
        ("Memset (Device)", "copies"),
        ("void something_new<int>", "other"),
    ],
)
def test_kernels_belong_to_ops(kernel: str, op: str) -> None:
    assert timing.op_of(kernel) == op


def test_the_time_in_which_a_kernel_waits_for_another_is_not_its_own() -> None:
    # launched early: b waits until 10 and runs until 14, c ends before it does; then a pause
    spans = [("a", 0.0, 10.0), ("b", 4.0, 14.0), ("c", 5.0, 12.0), ("a", 20.0, 21.0)]
    found = timing.exclusive(spans[::-1])
    assert found == {"a": 11.0, "b": 4.0, "c": 0.0, "idle": 6.0}
    assert sum(found.values()) == 21.0
    assert timing.exclusive([]) == {}


def test_where_the_gap_lies_is_told_of_parts_that_make_a_whole() -> None:
    cell = {"recipe": "int4", "batch": 2, "context": 128, "run": 0}
    read = {"weights": 1e9, "experts": 2e9, "states": 3e9, "tails": 1e9, "latents": 1e9}
    step = {**cell, "routing": "random", "limit_ms": 4.0, "ms_mean": 9.0, "bytes": read}
    ops = {"experts": 3.0, "lightning": 2.5, "linear": 1.0, "mla": 1.0, "idle": 0.5, "copies": 0.01}
    report = {"decode": [step], "trace": [{**cell, "ms_by_op": ops}]}
    titles = {title: make for title, _, _, make in full_size.SECTIONS}
    gap, trace = (titles[t](report).splitlines()[-1] for t in TRACES)
    assert gap.endswith("| 8.01 (4.00) | 3.00 (1.00) | 2.50 (2.00) | 1.00 (0.50) | 1.51 (0.50) |")
    assert trace.endswith("| 9.00 | 8.01 | 3.00 | 2.50 | 1.00 | 1.00 | 0.50 | 0.01 |")


def test_times_are_of_each_call() -> None:
    calls: list[int] = []
    found = timing.times(lambda: calls.append(1), 5, CPU)
    assert len(found) == len(calls) == 5 and min(found) >= 0
    assert timing.summary([1.0, 2.0, 6.0]) == {"ms_mean": 3.0, "ms_median": 2.0, "ms_p99": 6.0}


def test_the_reading_kernel_reads_every_word() -> None:
    pytest.importorskip("triton")
    from flashling.bench.engine.read_triton import BLOCK, TURNS, read

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(-(2**31), 2**31 - 1, (2, TURNS * BLOCK), generator=draw, dtype=torch.int32)
    out = torch.empty(2, dtype=torch.int32, device=device)
    read(x.flatten().to(device), out)
    want = x[:, 0].clone()
    for column in x[:, 1:].T:
        want ^= column
    assert out.tolist() == want.tolist()


@pytest.mark.parametrize("name", RECIPES)
def test_kernels_are_found_before_there_are_weights(name: str, config: ModelConfig) -> None:
    # what is compiled while weights are made is asked for by a model that has none
    model, took = ready(config, CPU, name)
    shadow = random_model(config, torch.device("meta"), RECIPES[name])
    want, found = (dict([*m.named_parameters(), *m.named_buffers()]) for m in (model, shadow))
    assert {n: (x.shape, x.dtype) for n, x in found.items()} == {
        n: (x.shape, x.dtype) for n, x in want.items()
    }
    assert all(x.is_meta for x in found.values()) and took["weights_s"] > 0


def test_to_fp8_keeps_experts_apart(config: ModelConfig) -> None:
    model = Ling(config).init_weights(0)
    plain = model.layers[1].ffn.gate_up.detach().clone()
    found = to_fp8(model, blocks=True).layers[1].ffn.gate_up.unpack()
    assert (found - plain).norm() / plain.norm() < 0.04
