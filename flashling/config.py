"""The model's configuration: read once from a published `config.json`, strictly, and frozen."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

# keys of published files that change nothing here, known by name so that an unlisted one stops
IGNORED = frozenset(
    """architectures model_type auto_map torch_dtype dtype transformers_version use_cache
    attention_dropout embedding_dropout output_dropout hidden_dropout max_window_layers
    output_router_logits router_dtype seq_aux aux_loss_alpha router_aux_loss_coef
    mtp_loss_scaling_factor bos_token_id num_key_value_heads num_kv_heads_for_linear_attn
    qk_head_dim scoring_func mtp_use_repeated_layer output_attentions output_hidden_states
    return_dict use_return_dict _name_or_path name_or_path is_decoder pretraining_tp moe_layer_freq
    sliding_window use_sliding_window moe_router_topk_scaling_factor unsloth_fixed
    attn_implementation _attn_implementation num_hidden_layers_mtp rotary_dim""".split()
)
# keys whose only supported value is the one given; another value changes the maths
FIXED: dict[str, tuple[Any, str]] = {
    "hidden_act": ("silu", "the activation of every feed-forward layer"),
    "score_function": ("sigmoid", "the router's scores"),
    "topk_method": ("noaux_tc", "how experts are selected"),
    "moe_router_enable_expert_bias": (True, "the bias used to select experts"),
    "use_qk_norm": (True, "the norm of q and k in Lightning layers"),
    "use_qkv_bias": (False, "biases of the q, k and v projections"),
    "use_bias": (False, "biases of the projections"),
    "attention_bias": (False, "biases of the projections"),
    "tie_word_embeddings": (False, "whether the head is the embedding table"),
    "rope_interleave": (True, "the pairing of MLA's rotary dimensions"),
    "linear_rope": (True, "rotary positions in Lightning layers"),
    "linear_silu": (False, "a SiLU on q, k and v of Lightning layers"),
    "use_linear_silu": (False, "a SiLU on q, k and v of Lightning layers"),
    "use_sliding_window": (False, "a window in MLA layers"),
    "use_rmsnorm": (True, "the norm"),
}
RENAMED = {"eos_token_id": "eos_token_ids", "quantization_config": "quantization"}


@dataclass(frozen=True)
class Yarn:
    """A YaRN extension of the rotary frequencies (arXiv 2309.00071)."""

    factor: float
    original_max_position_embeddings: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale_all_dim: float = 0.0

    @property
    def attention_scale(self) -> float:
        """What cos and sin are multiplied by: 0.1 ln(factor) + 1."""
        return 0.1 * math.log(self.factor) + 1.0 if self.factor > 1 else 1.0


@dataclass(frozen=True)
class ModelConfig:
    """Shapes and switches of one model of the family; field names are those of `config.json`."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    moe_intermediate_size: int
    num_attention_heads: int
    head_dim: int
    layer_group_size: int
    group_norm_size: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    first_k_dense_replace: int
    num_experts: int
    num_experts_per_tok: int
    n_group: int
    topk_group: int
    routed_scaling_factor: float
    rope_theta: float
    partial_rotary_factor: float
    max_position_embeddings: int
    rms_norm_eps: float
    q_lora_rank: int | None
    num_shared_experts: int = 1
    moe_shared_expert_intermediate_size: int = 0
    norm_topk_prob: bool = True
    num_nextn_predict_layers: int = 0
    rope_scaling: Yarn | None = None
    pad_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    decay_offset: int = 0
    initializer_range: float = 0.02
    quantization: dict | None = None

    def __post_init__(self) -> None:
        if not self.moe_shared_expert_intermediate_size:
            width = self.moe_intermediate_size * self.num_shared_experts
            object.__setattr__(self, "moe_shared_expert_intermediate_size", width)
        self._check()

    def _check(self) -> None:
        def need(ok: bool, what: str) -> None:
            if not ok:
                raise ValueError(f"config.json: {what}")

        need(
            self.num_hidden_layers % self.layer_group_size == 0,
            f"num_hidden_layers {self.num_hidden_layers} must be a multiple of layer_group_size "
            f"{self.layer_group_size}: sources disagree about a ragged last group",
        )
        width = self.num_attention_heads * self.head_dim
        need(
            width % self.group_norm_size == 0,
            f"group_norm_size {self.group_norm_size} is the number of groups and must divide "
            f"heads x head_dim = {width}",
        )
        need(
            self.num_experts % self.n_group == 0 and self.topk_group <= self.n_group,
            f"num_experts {self.num_experts}, n_group {self.n_group} and topk_group "
            f"{self.topk_group} do not fit together",
        )
        kept = self.num_experts // self.n_group * self.topk_group
        need(
            self.num_experts_per_tok <= kept,
            f"num_experts_per_tok {self.num_experts_per_tok} exceeds the {kept} experts that "
            "the kept groups hold",
        )
        rotary = int(self.head_dim * self.partial_rotary_factor)
        need(rotary % 2 == 0 and self.qk_rope_head_dim % 2 == 0, "rotary widths must be even")
        need(self.decay_offset in (0, 1), f"decay_offset {self.decay_offset} must be 0 or 1")

    # ---- what a layer is ----

    def is_mla(self, layer: int) -> bool:
        """Whether `layer` attends with MLA; the MTP layers (from num_hidden_layers on) all do."""
        return layer >= self.num_hidden_layers or (layer + 1) % self.layer_group_size == 0

    def is_moe(self, layer: int) -> bool:
        """Whether `layer` has routed experts instead of one dense feed-forward."""
        return layer >= self.first_k_dense_replace

    @property
    def num_layers(self) -> int:
        """Decoder layers and MTP layers together."""
        return self.num_hidden_layers + self.num_nextn_predict_layers

    @property
    def mla_layers(self) -> tuple[int, ...]:
        """Indices of the layers that keep latents, MTP layers last."""
        return tuple(i for i in range(self.num_layers) if self.is_mla(i))

    @property
    def lightning_layers(self) -> tuple[int, ...]:
        """Indices of the layers that keep a linear-attention state."""
        return tuple(i for i in range(self.num_layers) if not self.is_mla(i))

    @property
    def rotary_dim(self) -> int:
        """Rotated dimensions of a Lightning head."""
        return int(self.head_dim * self.partial_rotary_factor)

    @property
    def latent_dim(self) -> int:
        """What an MLA layer keeps per token: latent and shared rotary key."""
        return self.kv_lora_rank + self.qk_rope_head_dim

    # ---- reading and writing ----

    @classmethod
    def read(cls, path: str | Path, **overrides: Any) -> ModelConfig:
        """The configuration in `path` (a model's folder or its config.json).

        `overrides` replace or add keys of the file; an unknown key is accepted with
        `allow=("key", ...)`. Raises ValueError naming the key that is missing or unknown.
        """
        file = Path(path)
        file = file / "config.json" if file.is_dir() else file
        if not file.is_file():
            raise ValueError(f"no config.json at {file}: give a model's folder or its config file")
        try:
            found = json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{file} is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise ValueError(f"{file} holds a {type(found).__name__}, not an object")
        return cls.from_dict(found, **overrides)

    @classmethod
    def from_dict(
        cls, found: dict[str, Any], *, allow: tuple[str, ...] = (), **overrides: Any
    ) -> ModelConfig:
        """As `read`, from a parsed file. `allow` names unknown keys to accept."""
        given = {**found, **overrides}
        _refuse_relatives(given)
        _check_fixed(given)
        given["rope_theta"], given["partial_rotary_factor"], given["rope_scaling"] = _rope(given)
        values: dict[str, Any] = {}
        for key, value in given.items():
            name = RENAMED.get(key, key)
            if name in _FIELDS:
                values[name] = value
            elif key not in IGNORED and key not in FIXED and key not in allow and _matters(value):
                raise ValueError(
                    f"config.json: unknown key {key!r} = {value!r}: it could change what the model "
                    f"computes; if it does not, accept it with allow=({key!r},)"
                )
        for name, kind in _FIELDS.items():
            if name not in values and kind.default is MISSING:
                raise ValueError(f"config.json: missing key {name!r}; add it or give {name}=...")
        values["eos_token_ids"] = _ids(values.get("eos_token_ids"))
        for key in ("norm_topk_prob",):
            if values.get(key) is None:
                values.pop(key, None)
        return cls(**{key: value for key, value in values.items() if value is not _ABSENT})

    def to_dict(self) -> dict[str, Any]:
        """The contents of a `config.json` that `from_dict` reads back to an equal value."""
        out = asdict(self)
        eos = out.pop("eos_token_ids")
        out["eos_token_id"] = eos[0] if len(eos) == 1 else list(eos)
        quantization = out.pop("quantization")
        if quantization is not None:
            out["quantization_config"] = quantization
        if self.rope_scaling is not None:
            out["rope_scaling"] = {"rope_type": "yarn", **asdict(self.rope_scaling)}
        fixed = {k: FIXED[k][0] for k in ("hidden_act", "score_function", "tie_word_embeddings")}
        return {
            "architectures": ["BailingMoeV2_5ForCausalLM"],
            "model_type": "bailing_hybrid",
            **fixed,
            **out,
        }

    def write(self, folder: str | Path) -> None:
        """Write `config.json` into `folder`."""
        text = json.dumps(self.to_dict(), indent=2) + "\n"
        (Path(folder) / "config.json").write_text(text, "utf-8")

    def with_(self, **changes: Any) -> ModelConfig:
        """A copy with some fields changed."""
        return replace(self, **changes)


_FIELDS = {f.name: f for f in fields(ModelConfig)}
_ABSENT = object()


def _matters(value: Any) -> bool:
    return value is not None and value is not False and value not in ("", [], {}, ())


def _ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (int(value),)


def _refuse_relatives(given: dict[str, Any]) -> None:
    names = " ".join(given.get("architectures") or [])
    if "V3" in names or given.get("short_conv_kernel_size"):
        raise ValueError(
            f"config.json: {names or 'short_conv_kernel_size'} is Ling-3.0 (KDA layers with short "
            "convolutions), another architecture under the same model_type; flashling runs "
            "BailingMoeV2_5ForCausalLM (Ling-2.5 and 2.6)"
        )
    if given.get("linear_silu") or given.get("use_linear_silu"):
        raise ValueError(
            "config.json: linear_silu = true is not supported: implementations disagree about what "
            "it means (SiLU on qkv, or a SiLU gate), and no published model sets it"
        )


def _check_fixed(given: dict[str, Any]) -> None:
    for key, (value, what) in FIXED.items():
        if given.get(key) is not None and given[key] != value:
            raise ValueError(
                f"config.json: {key} = {given[key]!r} changes {what}; only {value!r} is supported"
            )


def _rope(given: dict[str, Any]) -> tuple[Any, Any, Yarn | None]:
    """theta, rotary factor and YaRN from either form (`rope_theta` or `rope_parameters`)."""
    parameters = given.pop("rope_parameters", None) or {}
    theta = given.get("rope_theta", parameters.get("rope_theta"))
    if theta is None:
        raise ValueError("config.json: missing key 'rope_theta' (or rope_parameters.rope_theta)")
    if parameters.get("rope_theta", theta) != theta:
        raise ValueError(
            f"config.json: rope_theta {theta} and rope_parameters.rope_theta "
            f"{parameters['rope_theta']} differ; remove one"
        )
    factor = given.get("partial_rotary_factor", parameters.get("partial_rotary_factor"))
    if factor is None:
        raise ValueError("config.json: missing key 'partial_rotary_factor'")
    scaling = given.get("rope_scaling") or parameters
    if isinstance(scaling, Yarn):
        return theta, factor, scaling
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return theta, factor, None
    if kind != "yarn":
        raise ValueError(f"config.json: rope type {kind!r} is not supported; use 'yarn' or none")
    known = {f.name for f in fields(Yarn)}
    extra = set(scaling) - known - {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
    if extra:
        raise ValueError(f"config.json: unknown rope_scaling keys {sorted(extra)}")
    if scaling.get("mscale_all_dim"):
        raise ValueError("config.json: rope_scaling.mscale_all_dim is not supported; remove it")
    try:
        return theta, factor, Yarn(**{k: v for k, v in scaling.items() if k in known})
    except TypeError:
        raise ValueError(
            "config.json: rope_scaling 'yarn' needs factor and original_max_position_embeddings"
        ) from None


LING_FLASH = ModelConfig(
    vocab_size=157184,
    hidden_size=4096,
    num_hidden_layers=32,
    intermediate_size=9216,
    moe_intermediate_size=1024,
    num_attention_heads=32,
    head_dim=128,
    layer_group_size=8,
    group_norm_size=4,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    first_k_dense_replace=1,
    num_experts=256,
    num_experts_per_tok=8,
    n_group=8,
    topk_group=4,
    routed_scaling_factor=2.5,
    rope_theta=6_000_000,
    partial_rotary_factor=0.5,
    max_position_embeddings=131072,
    rms_norm_eps=1e-6,
    q_lora_rank=1536,
    num_nextn_predict_layers=1,
    pad_token_id=156892,
    eos_token_ids=(156895, 156892),
)
LING_1T = LING_FLASH.with_(
    hidden_size=8192,
    num_hidden_layers=80,
    intermediate_size=18432,
    moe_intermediate_size=2048,
    moe_shared_expert_intermediate_size=2048,
    num_attention_heads=64,
    group_norm_size=8,
    first_k_dense_replace=4,
)
LING_MINI = LING_FLASH.with_(
    hidden_size=2048,
    num_hidden_layers=20,
    intermediate_size=5120,
    moe_intermediate_size=512,
    moe_shared_expert_intermediate_size=512,
    num_attention_heads=16,
    layer_group_size=5,
    rope_theta=600_000,
    q_lora_rank=None,
)
NANO = ModelConfig(
    vocab_size=8192,
    hidden_size=320,
    num_hidden_layers=8,
    intermediate_size=896,
    moe_intermediate_size=128,
    moe_shared_expert_intermediate_size=256,
    num_attention_heads=6,
    head_dim=64,
    layer_group_size=4,
    group_norm_size=2,
    kv_lora_rank=128,
    qk_nope_head_dim=64,
    qk_rope_head_dim=32,
    v_head_dim=64,
    first_k_dense_replace=1,
    num_experts=16,
    num_experts_per_tok=2,
    n_group=4,
    topk_group=2,
    routed_scaling_factor=1.0,
    rope_theta=100_000,
    partial_rotary_factor=0.5,
    max_position_embeddings=65536,
    rms_norm_eps=1e-6,
    q_lora_rank=None,
    num_nextn_predict_layers=1,
)
TOY = ModelConfig(
    vocab_size=256,
    hidden_size=64,
    num_hidden_layers=4,
    intermediate_size=96,
    moe_intermediate_size=32,
    num_attention_heads=4,
    head_dim=16,
    layer_group_size=2,
    group_norm_size=2,
    kv_lora_rank=24,
    qk_nope_head_dim=16,
    qk_rope_head_dim=8,
    v_head_dim=16,
    first_k_dense_replace=1,
    num_experts=8,
    num_experts_per_tok=2,
    n_group=4,
    topk_group=2,
    routed_scaling_factor=2.5,
    rope_theta=10_000,
    partial_rotary_factor=0.5,
    max_position_embeddings=4096,
    rms_norm_eps=1e-6,
    q_lora_rank=32,
    num_nextn_predict_layers=1,
    pad_token_id=0,
    eos_token_ids=(1,),
)
PRESETS = {
    "ling-2.6-flash": LING_FLASH,
    "ling-2.6-1t": LING_1T,
    "ling-mini": LING_MINI,
    "nano": NANO,
    "toy": TOY,
}
