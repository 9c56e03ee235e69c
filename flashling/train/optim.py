"""The optimiser: float32 masters beside a working model, stepped by AdamW and Muon.

Parameters of one kind lie end to end in one flat tensor, so a step is a few kernels whatever the
number of layers. A step with a gradient that is not finite changes nothing, without asking the
device: every update is multiplied by a flag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .. import parallel
from ..model.ling import Ling
from ..ops import wide
from . import muon


@dataclass(frozen=True)
class Optim:
    """lr is the peak rate. Hidden matrices go by `matrices`; embedding, head, norms and router
    always by AdamW. table_scale multiplies the rate of embedding and head. clip bounds the global
    gradient norm. Norms are not decayed.
    """

    lr: float = 3e-4
    matrices: Literal["muon", "adamw"] = "muon"
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    momentum: float = 0.95
    weight_decay: float = 0.1
    table_scale: float = 1.0
    clip: float = 1.0

    def __post_init__(self) -> None:
        if self.matrices not in ("muon", "adamw"):
            raise ValueError(f"matrices {self.matrices!r} is unknown; use 'muon' or 'adamw'")


@dataclass(frozen=True)
class Kind:
    """What parameters of one group have in common."""

    rule: Literal["muon", "adamw"]
    decay: float
    scale: float
    is_sharded: bool


def kind_of(name: str, p: Tensor, settings: Optim) -> Kind:
    """How the parameter `name` is stepped."""
    last, is_sharded = name.rsplit(".", 1)[-1], parallel.is_sharded(p)
    if last.endswith("norm"):
        return Kind("adamw", 0.0, 1.0, is_sharded)
    if name in ("embed.weight", "head"):
        return Kind("adamw", settings.weight_decay, settings.table_scale, is_sharded)
    rule = "adamw" if last == "router" else settings.matrices
    return Kind(rule, settings.weight_decay, 1.0, is_sharded)


class Group:
    """Parameters of one kind: flat masters, gradient sums and moments, and views into them."""

    def __init__(self, kind: Kind, named: Mapping[str, Tensor], values: Mapping[str, Tensor]):
        self.kind, self.names, self.params = kind, list(named), list(named.values())
        mine = [parallel.local(p) for p in self.params]
        self.shapes = [p.shape for p in mine]
        flat = torch.zeros(
            sum(p.numel() for p in mine), dtype=wide(mine[0][:0]).dtype, device=mine[0].device
        )
        self.value, self.grad, self.first = flat, torch.zeros_like(flat), torch.zeros_like(flat)
        self.second = torch.zeros_like(flat if kind.rule == "adamw" else flat[:0])
        self.values, self.grads = self.views(self.value), self.views(self.grad)
        self.put(self.value, values)

    def views(self, flat: Tensor) -> list[Tensor]:
        """`flat` cut into the local parts of the parameters."""
        pieces = flat.split([s.numel() for s in self.shapes])
        return [x.view(s) for x, s in zip(pieces, self.shapes, strict=True)]

    def put(self, flat: Tensor, full: Mapping[str, Tensor]) -> None:
        """Copy whole tensors by name into `flat`."""
        for name, p, view in zip(self.names, self.params, self.views(flat), strict=True):
            view.copy_(parallel.part(p, full[name]))

    def get(self, flat: Tensor) -> dict[str, Tensor]:
        """Whole tensors by name, on the CPU, out of `flat`."""
        triples = zip(self.names, self.params, self.views(flat), strict=True)
        # copied even on the CPU: a view would change, and be saved, with all of the flat tensor
        return {n: parallel.whole(p, x).to("cpu", copy=True) for n, p, x in triples}


class Optimizer:
    """Steps a model from gradients that `collect` has gathered.

    values: whole float32 parameters by name to start from, where the model is narrower.
    """

    def __init__(
        self,
        model: Ling,
        settings: Optim,
        world: parallel.World | None = None,
        values: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.settings, self.config = settings, model.config
        self.world = world or parallel.World()
        kinds: dict[Kind, dict[str, Tensor]] = {}
        for name, p in model.named_parameters():
            kinds.setdefault(kind_of(name, p, settings), {})[name] = p
        start = values or {n: p.detach() for n, p in model.named_parameters()}
        self.groups = [Group(kind, named, start) for kind, named in kinds.items()]
        flat = self.groups[0].value
        # finite steps so far, those skipped, and those skipped in a row
        self.count, self.skipped, self.in_row = torch.zeros(3, device=flat.device).unbind()
        self.publish()

    @torch.no_grad()
    def collect(self) -> None:
        """Add the model's gradients to the float32 sums and clear them."""
        for group in self.groups:
            found = [(to, p.grad) for to, p in zip(group.grads, group.params, strict=True)]
            found = [(to, parallel.local(grad)) for to, grad in found if grad is not None]
            if found:
                sums, grads = ([pair[i] for pair in found] for i in range(2))
                torch._foreach_add_(sums, grads)  # pyright: ignore[reportPrivateImportUsage]
            for p in group.params:
                p.grad = None

    @torch.no_grad()
    def step(self, lr: float) -> tuple[Tensor, Tensor]:
        """One step at rate `lr` from the collected gradients, which are cleared.

        Returns the gradient norm before clipping, and 1.0 or, where that is not finite and the
        step was skipped, 0.0; both are scalars on the device.
        """
        norm = self._norm()
        ok = norm.isfinite().to(norm.dtype)
        clip = (self.settings.clip / (norm + 1e-6)).clamp(max=1.0)
        self.count += ok
        self.skipped += 1 - ok
        self.in_row.add_(1).mul_(1 - ok)
        for group in self.groups:
            # chosen, not multiplied by zero: nan would stay nan
            group.grad.copy_(torch.where(ok > 0, group.grad * clip, 0.0))
            rule = self._muon if group.kind.rule == "muon" else self._adamw
            rate = ok.to(group.value.dtype) * (lr * group.kind.scale)
            update = rule(group, ok.to(group.value.dtype))
            group.value.mul_(1 - rate * group.kind.decay).sub_(update.mul_(rate))
            group.grad.zero_()
        self.publish()
        return norm, ok

    def _norm(self) -> Tensor:
        if self.world.size > 1:
            for group in self.groups:
                if not group.kind.is_sharded:
                    self.world.total(group.grad).div_(self.world.size)
        squares = {True: self.count.new_zeros(()), False: self.count.new_zeros(())}
        for group in self.groups:
            squares[group.kind.is_sharded] += group.grad.square().sum()
        return (self.world.total(squares[True]) + squares[False]).sqrt()

    def _adamw(self, group: Group, ok: Tensor) -> Tensor:
        b1, b2 = self.settings.betas
        group.first.lerp_(group.grad, (1 - b1) * ok)
        group.second.lerp_(group.grad.square(), (1 - b2) * ok)
        count = self.count.clamp(min=1).double()
        by1, by2 = ((1 - b**count).to(ok.dtype) for b in (b1, b2))
        return (group.first / by1).div_((group.second / by2).sqrt_().add_(self.settings.eps))

    def _muon(self, group: Group, ok: Tensor) -> Tensor:
        group.first.lerp_(group.grad, (1 - self.settings.momentum) * ok)
        ahead = group.grad.lerp(group.first, self.settings.momentum)
        pairs = list(zip(group.params, group.views(ahead), strict=True))
        # gathered, made orthogonal by every process, cut again: simple and right first
        full = [parallel.whole(p, x) for p, x in pairs]
        done = muon.updates(group.names, full, self.config)
        mine = [parallel.part(p, x).flatten() for p, x in zip(group.params, done, strict=True)]
        return torch.cat(mine)

    @torch.no_grad()
    def publish(self) -> None:
        """Copy the masters into the working model."""
        for group in self.groups:
            mine = [parallel.local(p) for p in group.params]
            torch._foreach_copy_(mine, group.values)  # pyright: ignore[reportPrivateImportUsage]

    def masters(self) -> dict[str, Tensor]:
        """Whole float32 parameters by name, copied to the CPU; all processes must call it."""
        return {n: x for group in self.groups for n, x in group.get(group.value).items()}

    def load_masters(self, values: Mapping[str, Tensor]) -> None:
        """Set masters and working model from whole parameters by name."""
        for group in self.groups:
            group.put(group.value, values)
        self.publish()

    def state_dict(self) -> dict[str, Any]:
        """Moments by name and counters, on the CPU; all processes must call it."""
        first, second = {}, {}
        for group in self.groups:
            first |= group.get(group.first)
            if group.kind.rule == "adamw":
                second |= group.get(group.second)
        counts = torch.stack([self.count, self.skipped, self.in_row]).cpu()
        return {"first": first, "second": second, "counts": counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up `state`; the number of processes may differ."""
        for group in self.groups:
            group.put(group.first, state["first"])
            if group.kind.rule == "adamw":
                group.put(group.second, state["second"])
        for to, value in zip(
            (self.count, self.skipped, self.in_row), state["counts"].unbind(), strict=True
        ):
            to.copy_(value)
