"""AdamW, Muon, masters, the guard against numbers that are not finite, schedules, balancing."""

from __future__ import annotations

import pytest
import torch

from flashling.config import TOY
from flashling.model.ling import Ling
from flashling.train import muon
from flashling.train.balance import Balance
from flashling.train.optim import Optim, Optimizer, kind_of
from flashling.train.schedule import Schedule, factor


def model(seed: int = 0) -> Ling:
    return Ling(TOY).init_weights(seed)


def give_grads(m: Ling, seed: int, scale: float = 1e-2) -> None:
    g = torch.Generator().manual_seed(seed)
    for p in m.parameters():
        p.grad = (torch.randn(p.shape, generator=g) * scale).to(p.dtype)


def test_adamw_is_the_frameworks() -> None:
    settings = Optim(lr=1e-2, matrices="adamw", clip=1e9, weight_decay=0.1)
    ours, theirs = model(), model()
    mine = Optimizer(ours, settings)
    norms = [p for n, p in theirs.named_parameters() if n.endswith("norm")]
    rest = [p for n, p in theirs.named_parameters() if not n.endswith("norm")]
    reference = torch.optim.AdamW(
        [{"params": norms, "weight_decay": 0.0}, {"params": rest, "weight_decay": 0.1}],
        lr=1e-2,
        betas=settings.betas,
    )
    for step in range(4):
        give_grads(ours, step)
        give_grads(theirs, step)
        mine.collect()
        mine.step(1e-2)
        reference.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)


def test_gradients_add_up_and_are_clipped_together() -> None:
    m = model()
    optimizer = Optimizer(m, Optim(clip=0.5))
    give_grads(m, 0)
    total = torch.stack([(2 * p.grad).square().sum() for p in m.parameters() if p.grad is not None])
    optimizer.collect()
    assert all(p.grad is None for p in m.parameters())
    give_grads(m, 0)
    optimizer.collect()
    norm, ok = optimizer.step(0.0)
    torch.testing.assert_close(norm, total.sum().sqrt())
    assert float(ok) == 1
    # moments hold the clipped gradient
    adamw = next(g for g in optimizer.groups if g.kind.rule == "adamw")
    assert float(adamw.first.abs().max()) < 0.1 * 0.5


def test_orthogonal_has_singular_values_near_one() -> None:
    x = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(muon.orthogonal(x))
    assert values.min() > 0.6 and values.max() < 1.3
    torch.testing.assert_close(muon.orthogonal(x.mT), muon.orthogonal(x).mT)
    assert not muon.orthogonal(torch.zeros(1, 3, 5)).any()


def test_fused_and_stacked_matrices_are_orthogonalised_apart() -> None:
    g = torch.Generator().manual_seed(0)
    names = {n: p.shape for n, p in model().named_parameters()}
    picked = [
        "layers.0.mixer.qkvg",
        "layers.0.ffn.gate_up",
        "layers.1.ffn.gate_up",
        "layers.1.ffn.down",
        "layers.1.mixer.qkv_a",
    ]
    moments = [torch.randn(names[n], generator=g) for n in picked]
    found = dict(zip(picked, muon.updates(picked, moments, TOY), strict=True))

    def alone(x: torch.Tensor) -> torch.Tensor:
        return muon.orthogonal(x[None])[0] * 0.2 * max(x.shape) ** 0.5

    by_name = dict(zip(picked, moments, strict=True))
    for i, piece in enumerate(by_name["layers.0.mixer.qkvg"].chunk(4)):
        torch.testing.assert_close(found["layers.0.mixer.qkvg"].chunk(4)[i], alone(piece))
    experts = by_name["layers.1.ffn.gate_up"]
    for e in range(TOY.num_experts):
        for half in range(2):
            torch.testing.assert_close(
                found["layers.1.ffn.gate_up"][e].chunk(2)[half], alone(experts[e].chunk(2)[half])
            )
    torch.testing.assert_close(
        found["layers.1.ffn.down"][3], alone(by_name["layers.1.ffn.down"][3])
    )
    sizes = [TOY.q_lora_rank or 0, TOY.kv_lora_rank, TOY.qk_rope_head_dim]
    for a, b in zip(
        found["layers.1.mixer.qkv_a"].split(sizes),
        by_name["layers.1.mixer.qkv_a"].split(sizes),
        strict=True,
    ):
        torch.testing.assert_close(a, alone(b))


def test_who_goes_by_which_rule() -> None:
    settings = Optim(table_scale=3.0)
    rules = {n: kind_of(n, p, settings) for n, p in model().named_parameters()}
    assert rules["embed.weight"].rule == rules["head"].rule == "adamw"
    assert rules["head"].scale == 3.0
    assert rules["layers.1.ffn.router"].rule == "adamw"
    assert rules["layers.1.mixer.kv_a_norm"].decay == rules["norm"].decay == 0.0
    for name in ("mixer.kv_b", "mixer.o", "ffn.gate_up", "ffn.shared.down"):
        assert rules[f"layers.1.{name}"].rule == "muon"
    assert rules["mtp.0.eh"].rule == "muon"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_nothing(bad: float) -> None:
    m = model()
    optimizer = Optimizer(m, Optim())
    for seed in range(2):
        give_grads(m, seed)
        optimizer.collect()
        optimizer.step(1e-2)
    before, state = optimizer.masters(), optimizer.state_dict()
    give_grads(m, 5)
    assert m.head.grad is not None
    m.head.grad[0, 0] = bad
    optimizer.collect()
    _, ok = optimizer.step(1e-2)
    assert float(ok) == 0 and int(optimizer.skipped) == int(optimizer.in_row) == 1
    after, later = optimizer.masters(), optimizer.state_dict()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
        assert torch.equal(state["first"][name], later["first"][name]), name
    give_grads(m, 6)
    optimizer.collect()
    optimizer.step(1e-2)
    assert int(optimizer.in_row) == 0 and int(optimizer.count) == 3


def test_the_first_step_may_be_bad() -> None:
    m = model()
    optimizer = Optimizer(m, Optim())
    give_grads(m, 0, float("nan"))
    optimizer.collect()
    optimizer.step(1e-2)
    assert all(p.isfinite().all() for p in m.parameters())


def test_bfloat16_works_beside_float32_masters() -> None:
    m = model()
    values = {n: p.detach().clone() for n, p in m.named_parameters()}
    m.cast(torch.bfloat16)
    optimizer = Optimizer(m, Optim(matrices="adamw"), values=values)
    assert m.get_parameter("layers.1.ffn.router").dtype == torch.float32
    masters = optimizer.masters()
    for name, value in values.items():
        assert torch.equal(masters[name], value)
    # steps too small for bfloat16 add up in the masters
    for _ in range(20):
        for p in m.parameters():
            p.grad = torch.ones_like(p)
        optimizer.collect()
        optimizer.step(1e-5)
    moved = values["norm"] - optimizer.masters()["norm"]
    torch.testing.assert_close(moved, torch.full_like(moved, 2e-4), rtol=1e-2, atol=0)
    for name, p in m.named_parameters():
        assert torch.equal(p, optimizer.masters()[name].to(p.dtype)), name


def test_state_goes_to_another_optimizer() -> None:
    one, two = model(0), model(9)
    first, second = Optimizer(one, Optim()), Optimizer(two, Optim())
    give_grads(one, 0)
    first.collect()
    first.step(1e-2)
    second.load_masters(first.masters())
    second.load_state_dict(first.state_dict())
    for m, optimizer in ((one, first), (two, second)):
        give_grads(m, 1)
        optimizer.collect()
        optimizer.step(1e-2)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_schedules() -> None:
    constant, cosine = Schedule(warmup=10), Schedule("cosine", warmup=0, floor=0.1)
    assert factor(constant, 0, 0.0) == 0.1 and factor(constant, 99, 0.99) == 1.0
    assert factor(cosine, 0, 0.0) == pytest.approx(1.0)
    assert factor(cosine, 0, 0.5) == pytest.approx(0.55)
    assert factor(cosine, 0, 1.0) == pytest.approx(0.1)
    wsd = Schedule("wsd", warmup=0, decay=0.2)
    assert factor(wsd, 0, 0.8) == pytest.approx(1.0)
    assert factor(wsd, 0, 0.9) == pytest.approx(0.5)
    assert factor(wsd, 0, 1.5) == 0.0
    with pytest.raises(ValueError, match="'linear' is unknown"):
        Schedule("linear")  # pyright: ignore[reportArgumentType]


def test_biases_move_towards_an_even_load() -> None:
    m = model()
    balance = Balance(m)
    assert len(balance.layers) == 4
    loads = torch.tensor([10, 0, 4, 4, 4, 4, 4, 2])
    for layer in balance.layers[:3]:
        layer.load.copy_(loads)
    uneven = balance.update(0.01, torch.tensor(1.0))
    assert uneven.tolist() == pytest.approx([2.5, 2.5, 2.5, 1.0])
    expected = torch.tensor([-1.0, 1, 0, 0, 0, 0, 0, 1]) * 0.01
    assert torch.equal(balance.layers[0].bias, expected)
    assert not balance.layers[0].load.any() and not balance.layers[3].bias.any()
    balance.layers[0].load.copy_(loads)
    balance.update(0.01, torch.tensor(0.0))
    assert torch.equal(balance.layers[0].bias, expected)
