"""The model's promises: one text, any schedule, the same numbers."""

from __future__ import annotations

import random

import pytest
import torch

from flashling import ops
from flashling.batch import Batch
from flashling.config import LING_FLASH, TOY, ModelConfig
from flashling.model.ling import Ling
from flashling.model.past import Fresh, Kept

BARE = TOY.with_(q_lora_rank=None, num_nextn_predict_layers=0)


def build(config: ModelConfig = TOY, dtype: torch.dtype = torch.float64, seed: int = 0) -> Ling:
    model = Ling(config).init_weights(seed).cast(dtype).eval()
    g = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for p in model.parameters():
            # weights large enough that every path matters, norms away from one
            p.mul_(4) if p.ndim > 1 else p.mul_(0.5 + torch.rand(p.shape, generator=g).to(p))
        for name, b in model.named_buffers():
            if name.endswith("bias"):
                b.copy_(torch.randn(b.shape, generator=g) * 0.1)
    return model


def text(length: int, seed: int = 0, vocab: int = 256) -> list[int]:
    r = random.Random(seed)
    return [r.randrange(vocab) for _ in range(length)]


def whole(model: Ling, tokens: list[int], **options) -> torch.Tensor:
    batch = Batch.pack([tokens])
    with torch.no_grad():
        return model(batch, Fresh(batch, **options))


@pytest.mark.parametrize("config", [TOY, BARE], ids=["toy", "no_q_rank"])
def test_decode_equals_the_whole_text_under_any_schedule(config: ModelConfig) -> None:
    model = build(config)
    r = random.Random(1)
    for trial in range(3):
        texts = [text(n, n + trial) for n in (1, 63, 64, 65, 150)]
        want = [whole(model, t) for t in texts]
        kept = Kept(config, 5, torch.float64)
        got: list[list[torch.Tensor]] = [[] for _ in texts]
        while any(kept.length(i) < len(t) for i, t in enumerate(texts)):
            open_ = [i for i, t in enumerate(texts) if kept.length(i) < len(t)]
            slots = r.sample(open_, r.randint(1, len(open_)))
            rows = []
            for i in slots:
                n = r.choice([1, 1, 2, 17, 64, 100])
                rows.append(texts[i][kept.length(i) : kept.length(i) + n])
            batch = Batch.pack(rows, first=[kept.length(i) for i in slots])
            with torch.no_grad():
                hidden = model(batch, kept.begin(batch, slots))
            kept.commit()
            for i, a, b in zip(slots, batch.starts, batch.starts[1:], strict=False):
                got[i].append(hidden[a:b])
        for g, w in zip(got, want, strict=True):
            torch.testing.assert_close(torch.cat(g), w, rtol=0, atol=1e-11)


def test_a_reused_slot_starts_clean_and_a_fork_goes_its_own_way() -> None:
    model, kept = build(), Kept(TOY, 2, torch.float64)

    def feed(tokens: list[int], slot: int) -> torch.Tensor:
        batch = Batch.pack([tokens], first=[kept.length(slot)])
        with torch.no_grad():
            hidden = model(batch, kept.begin(batch, [slot]))
        kept.commit()
        return hidden

    a, b, c = text(100, 1), text(20, 2), text(20, 3)
    feed(a, 0)
    kept.copy(0, 1)
    torch.testing.assert_close(feed(b, 0), whole(model, a + b)[100:], rtol=0, atol=1e-11)
    torch.testing.assert_close(feed(c, 1), whole(model, a + c)[100:], rtol=0, atol=1e-11)


def test_packing_equals_separate_documents() -> None:
    model = build()
    texts = [text(n, n) for n in (1, 5, 64, 65, 200, 17, 16)]
    batch = Batch.pack(texts)
    with torch.no_grad():
        packed = model(batch, Fresh(batch))
    torch.testing.assert_close(
        packed, torch.cat([whole(model, t) for t in texts]), rtol=0, atol=1e-11
    )


def test_causality() -> None:
    model, tokens = build(), text(140)
    before = whole(model, tokens)
    for cut in (1, 63, 64, 100):
        changed = tokens[:cut] + text(len(tokens) - cut, 9)
        after = whole(model, changed)
        # rounding alone: an expert's product has other rows beside these
        torch.testing.assert_close(before[:cut], after[:cut], rtol=0, atol=1e-11)
        assert not torch.allclose(before[cut:], after[cut:])


@pytest.mark.parametrize("chunk", [1, 7, 32, 128, 256])
def test_the_chunk_length_changes_nothing_but_rounding(chunk: int) -> None:
    model, tokens = build(), text(200)
    torch.testing.assert_close(
        whole(model, tokens, chunk=chunk), whole(model, tokens), rtol=0, atol=1e-11
    )


def test_absorbed_equals_expanded() -> None:
    model, tokens = build(), text(150)
    torch.testing.assert_close(
        whole(model, tokens, form="absorbed"), whole(model, tokens), rtol=0, atol=1e-11
    )


@pytest.mark.parametrize("form", ["expanded", "absorbed"])
def test_gradients_against_finite_differences(form: str) -> None:
    config = TOY.with_(vocab_size=32)
    model = build(config)
    batch = Batch.pack([text(70, 1, 32), text(9, 2, 32)])
    g = torch.Generator().manual_seed(3)
    aim = torch.randn(79, config.hidden_size, generator=g, dtype=torch.float64)

    def loss() -> torch.Tensor:
        past = Fresh(batch, form)  # pyright: ignore[reportArgumentType]
        hidden = model(batch, past)
        return ((hidden + model.mtp_hidden(hidden, batch, past)) * aim).mean()

    loss().backward()
    for name, p in model.named_parameters():
        if name in ("head",):
            continue
        assert p.grad is not None, name
        way = torch.randn(p.shape, generator=g, dtype=p.dtype)
        with torch.no_grad():
            step = 1e-6
            p += step * way
            up = loss()
            p -= 2 * step * way
            down = loss()
            p += step * way
        slope = float((up - down) / (2 * step))
        found = float((p.grad * way).sum())
        assert found == pytest.approx(slope, rel=2e-4, abs=2e-8), name


def test_bfloat16_is_close_and_finite() -> None:
    # experts that all tokens share, so that a rounding cannot flip a choice
    config = TOY.with_(num_experts=2, num_experts_per_tok=2, n_group=1, topk_group=1)
    exact, rough = build(config), build(config, torch.bfloat16)
    rough.load_state_dict({k: v.to(rough.state_dict()[k]) for k, v in exact.state_dict().items()})
    tokens = text(300)
    a, b = whole(exact, tokens), whole(rough, tokens).double()
    assert torch.isfinite(b).all()
    assert ((a - b).norm() / a.norm()) < 0.05
    assert rough.layers[1].ffn.router.dtype == torch.float32


def test_long_texts_stay_finite_in_bfloat16() -> None:
    # linear states grow past what float16 holds after about 80 tokens of equal keys
    model = build(dtype=torch.bfloat16)
    assert torch.isfinite(whole(model, [7] * 2000)).all()


def test_published_sizes_on_meta() -> None:
    with torch.device("meta"):
        model = Ling(LING_FLASH)
    own = {n: p.numel() for n, p in model.named_parameters()}
    own |= {n: b.numel() for n, b in model.named_buffers() if n.endswith("bias")}
    assert sum(own.values()) == 107_494_409_216
    assert sum(v for n, v in own.items() if not n.startswith("mtp.")) == 104_186_915_584
    assert LING_FLASH.mla_layers == (7, 15, 23, 31, 32)


def test_decay_is_not_rounded_by_casting() -> None:
    for layer in build(dtype=torch.bfloat16).layers:
        if hasattr(layer.mixer, "decay"):
            assert layer.mixer.decay.dtype == torch.float32


def test_slopes_of_the_flash_model() -> None:
    first = ops.slopes(32, 0, 32)
    assert first[0].item() == pytest.approx(0.8409 * (1 + 1e-5), rel=1e-4)
    assert first[-1].item() == pytest.approx(0.00390625 * (1 + 1e-5), rel=1e-6)
    late = ops.slopes(32, 30, 32)
    assert late[-1].item() == pytest.approx(0.00390625 * (1 / 31 + 1e-5), rel=1e-6)
    assert ops.slopes(32, 30, 32, 1)[-1].item() == pytest.approx(0.00390625 * (2 / 31 + 1e-5))
    # six heads: the four of the lower power, then every second of eight
    assert ops.slopes(6, 0, 2)[4].item() == pytest.approx(0.5 * (1 + 1e-5))


def test_a_text_beyond_the_positions_is_refused() -> None:
    kept = Kept(TOY.with_(max_position_embeddings=8), 1)
    with pytest.raises(ValueError, match="9 tokens exceed the model's 8 positions"):
        kept.begin(Batch.pack([text(9)]), [0])
