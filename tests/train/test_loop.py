"""The loop: it learns, its options change nothing, it stops cleanly and guards itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from flashling.config import TOY
from flashling.parallel import World
from flashling.train import checkpoint, recipes, train
from flashling.train.build import build
from flashling.train.cost import train_flops
from flashling.train.data import Prefetch
from flashling.train.evaluate import held_out
from flashling.train.loop import one_step
from flashling.train.optim import Optim
from flashling.train.recipe import Recipe
from flashling.train.schedule import Schedule
from flashling.train.source import Held, Shuffled


def small(out: Path, **changes: object) -> Recipe:
    usual = {"out": str(out), "steps": 4, "tokens": 256, "log_every": 2, "schedule": Schedule()}
    return recipes()["toy"]().with_(**(usual | changes))


def records(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def weights(recipe: Recipe) -> dict[str, torch.Tensor]:
    return checkpoint.load_weights(checkpoint.found(recipe.folder)[-1])


def test_toy_learns(tmp_path: Path) -> None:
    result = train(recipes()["toy"]().with_(out=str(tmp_path)), quiet=True)
    assert result.step == 60 and result.reason == "steps"
    lines = [r for r in records(tmp_path) if "loss" in r]
    assert lines[0]["loss"] > 4.5 and lines[-1]["loss"] < 0.6
    assert lines[-1]["mtp_loss"] < lines[0]["mtp_loss"] / 3
    assert lines[-1]["load_mean"] >= 1 and lines[-1]["skipped"] == 0
    assert lines[-1]["tokens"] > 20_000 and lines[-1]["tokens_per_second"] > 0
    with pytest.raises(ValueError, match="already holds a run .up to step-00000060.; resume"):
        train(recipes()["toy"]().with_(out=str(tmp_path)), quiet=True)


# the tracer looks at .grad of what is no leaf, and hides the warning less well than it thinks
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_recomputing_and_compiling_change_nothing(tmp_path: Path) -> None:
    plain = small(tmp_path / "a", steps=1)
    train(plain, quiet=True)
    for name, changes in {"b": {"recompute": True}, "c": {"compile": "eager"}}.items():
        other = small(tmp_path / name, steps=1, **changes)
        train(other, quiet=True)
        for key, value in weights(plain).items():
            torch.testing.assert_close(weights(other)[key], value, rtol=0, atol=1e-6, msg=key)


def test_a_step_is_the_mean_over_its_batches(tmp_path: Path) -> None:
    """Two half batches accumulate to the gradient of the whole, mask and MTP included."""
    made = [(list(range(40, 40 + n)), [k % 3 > 0 for k in range(n)]) for n in (30, 20, 40, 10)]
    moments = []
    for tokens, accumulate in ((100, 1), (50, 2)):
        r = Recipe(
            "halves",
            TOY,
            lambda: Shuffled(Held(made)),
            out=str(tmp_path / str(tokens)),
            steps=1,
            tokens=tokens,
            accumulate=accumulate,
            optim=Optim(clip=1e9),
            dtype="float64",
            device="cpu",
            tensorboard=False,
        )
        train(r, quiet=True)
        state = checkpoint.load_state(checkpoint.found(r.folder)[-1])
        moments.append(state["optimizer"]["first"])
    for name, value in moments[0].items():
        torch.testing.assert_close(moments[1][name], value, rtol=1e-9, atol=1e-12, msg=name)


def test_a_run_that_is_never_finite_stops_with_the_remedy(tmp_path: Path) -> None:
    r = small(tmp_path, steps=100, max_bad=4, optim=Optim(lr=1e30, clip=1e30))
    with pytest.raises(RuntimeError, match="not finite for .* lower the learning rate"):
        train(r, quiet=True)
    lines = [x for x in records(tmp_path) if "loss" in x]
    assert lines[-1]["skipped"] >= 4


def test_limits_of_time(tmp_path: Path) -> None:
    late = small(tmp_path / "a", steps=10_000)
    said: list[str] = []
    result = train(late, limit=0.3, quiet=True, say=said.append)
    assert result.reason == "stopped" and 0 < result.step < 10_000
    assert "go on with `flashling train toy --resume`" in said[0]
    over = small(tmp_path / "b", steps=None, seconds=0.3)
    result = train(over, quiet=True, say=said.append)
    assert result.reason == "seconds" and len(said) == 1
    assert train(over, resume=True, quiet=True).step == result.step


def test_bfloat16_on_the_cpu(tmp_path: Path) -> None:
    r = small(tmp_path, dtype="bfloat16", steps=20, schedule=Schedule(warmup=5))
    assert train(r, quiet=True).loss < 3.5
    assert weights(r)["head"].dtype == torch.float32


def test_tensorboard_gets_what_the_log_gets(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(small(tmp_path, tensorboard=True), quiet=True)
    assert list((tmp_path / "tensorboard").iterdir())


def test_progress_without_a_terminal_is_plain_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(small(tmp_path))
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("100.0 %  step 4  loss ") and "tok/s" in last and "ETA 0:00" in last


def test_flops_are_those_that_run(tmp_path: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    run = build(small(tmp_path, tokens=600), World(), quiet=True)
    feed = Prefetch(run.loader, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        one_step(run, feed)
    feed.close()
    run.log.close()
    m = run.meter
    length, share = m.tokens / m.documents, m.num_following / m.tokens
    counted = counter.get_total_flops() / m.tokens
    told = train_flops(TOY, length, share, True)
    # Muon's iterations are counted too, and attention in full squares
    assert 0.5 < told / counted < 1.2


def test_a_recipe_must_end() -> None:
    with pytest.raises(ValueError, match="'x' has no end: give steps or seconds"):
        Recipe("x", TOY, lambda: Shuffled(Held([([1], [True])])))
    with pytest.raises(ValueError, match="tokens 0 must be >= 1"):
        Recipe("x", TOY, lambda: Shuffled(Held([([1], [True])])), steps=1, tokens=0)


def test_held_out_loss_is_logged_and_leaves_the_run_alone(tmp_path: Path) -> None:
    documents = [([65, 66, 67, 68] * n, [True] * 4 * n) for n in (3, 1, 5, 2)]
    plain = small(tmp_path / "a")
    watched = small(tmp_path / "b", evaluate=held_out(documents, 16), evaluate_every=2)
    train(plain, quiet=True)
    train(watched, quiet=True)
    found = [r for r in records(watched.folder) if r.get("event") == "evaluate"]
    assert [r["step"] for r in found] == [2, 4]
    assert 4 < found[0]["held_out_loss"] < 7 and found[0]["held_out_accuracy"] < 0.5
    for name, value in weights(plain).items():
        assert torch.equal(value, weights(watched)[name]), name
    # how the documents are cut into batches does not matter
    run = build(plain, World(), quiet=True)
    run.log.close()
    model = run.model
    one, two = (held_out(documents, n)(model) for n in (16, 1000))
    assert one["held_out_loss"] == pytest.approx(two["held_out_loss"], rel=1e-5)
