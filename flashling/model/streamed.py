"""A checkpoint run layer by layer: whoever has room for its files and one layer can run it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import ops
from ..batch import Batch
from ..config import ModelConfig
from .lightning import Lightning
from .ling import Ling
from .past import Fresh
from .rotary import Rotary
from .stage import Progress
from .weights import Source, fill

# rows whose logits are held at once
ROWS = 256


class Streamed:
    """The model in `folder` in `dtype` on `device`; each part is read when it is its turn.

    progress(done, all) is called in weights of the main model. CheckpointError as `weights.load`.
    """

    def __init__(
        self,
        folder: str | Path,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
    ) -> None:
        self.config = ModelConfig.read(folder)
        self._source = Source(Path(folder), self.config)
        with torch.device("meta"):
            self.model = Ling(self.config).cast(dtype).eval()
        self.dtype, self.device = dtype, torch.device(device)
        self.has_mtp = bool(self.config.num_nextn_predict_layers) and not self._source.notes
        self._progress, self._done = progress, 0

    @contextmanager
    def loaded(self, name: str) -> Iterator[nn.Module]:
        """The module `name` of the model with its weights, which are dropped afterwards."""
        module = self.model.get_submodule(name).to_empty(device=self.device)
        own = {f"{name}.{n}": t for n, t in module.state_dict().items()}
        self._fill(own)
        try:
            yield module
        finally:
            module.to("meta")

    def tensor(self, name: str) -> Tensor:
        """One of the model's own tensors, read: "norm", "head"."""
        found = torch.empty_like(self.model.get_parameter(name), device=self.device)
        self._fill({name: found.detach()})
        return found.detach()

    def _fill(self, own: dict[str, Tensor]) -> None:
        table = [t for t in self._source.table if t.param in own]
        fill(self._source, table, own)
        self._done += len(table)
        if self._progress:
            self._progress(min(self._done, len(self._source.table)), len(self._source.table))

    @torch.no_grad()
    def hidden(
        self, batch: Batch, offsets: tuple[int, ...]
    ) -> tuple[dict[int, Tensor], dict[int, Tensor], Tensor]:
        """The rows [T, D] of a batch before and after the final norm, for each decay offset, and
        the embedded tokens [T, D].
        """
        c = self.config
        with self.loaded("embed") as embed:
            embedded = embed(batch.tokens)
        rows = {o: (embedded, torch.zeros_like(embedded)) for o in offsets}
        rotary, past = Rotary.of(c, batch.positions, self.dtype), Fresh(batch)
        for i in range(c.num_hidden_layers):
            with self.loaded(f"layers.{i}") as layer:
                for o in offsets:
                    if isinstance(layer.mixer, Lightning):
                        layer.mixer.decay = ops.slopes(
                            c.num_attention_heads, i, c.num_hidden_layers, o
                        )
                    rows[o] = layer(*rows[o], rotary, past)
        norm = self.tensor("norm")
        both = {o: ops.add_norm(x, y, norm, c.rms_norm_eps) for o, (x, y) in rows.items()}
        return {o: x for o, (x, _) in both.items()}, {o: y for o, (_, y) in both.items()}, embedded

    @torch.no_grad()
    def drafts(self, hidden: list[Tensor], embedded: Tensor, batch: Batch) -> list[Tensor]:
        """As `Ling.mtp_hidden`, for each of several rows [T, D]; the last row of each sequence
        means nothing.
        """
        rotary, read = Rotary.of(self.config, batch.positions, self.dtype), embedded.roll(-1, 0)
        with self.loaded("mtp.0") as mtp:
            return [mtp(h, read, rotary, Fresh(batch)) for h in hidden]


@torch.no_grad()
def judged(hidden: Tensor, head: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
    """hidden [T, D], head [V, D], following [T] -> the log-probability of each following token
    [T] float32, and the likeliest token [T].
    """
    said, best = [], []
    for rows, after in zip(hidden.split(ROWS), following.split(ROWS), strict=True):
        logprobs = ops.logprobs_of(ops.wide(nn.functional.linear(rows, head)))
        said.append(logprobs.gather(1, after[:, None])[:, 0])
        best.append(logprobs.argmax(-1))
    return torch.cat(said).float(), torch.cat(best)
