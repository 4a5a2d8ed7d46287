"""Settings of a training run: one validated file is the whole run."""

from __future__ import annotations

from collections.abc import Iterable  # noqa: TC003 - pydantic reads annotations
from pathlib import Path
from typing import Any, Final, Literal, Self

import yaml
from pydantic import Field, field_validator, model_validator

from napari_dama.errors import SettingsError
from napari_dama.models.card import ANCHORS, Anchors, Head
from napari_dama.nets.counts import overlap_count, visible_count
from napari_dama.training.areas import Areas  # noqa: TC001 - pydantic reads annotations
from napari_dama.training.files import ANNOTATIONS
from napari_dama.training.job_settings import JobSettings, checked
from napari_dama.training.sources import STORE, Sources

WHERE: Final = ("device", "devices", "nodes", "strategy", "threads")
"""Settings that say where a run computes, not what."""
__all__ = ["METHOD_DEFAULTS", "WHERE", "FinetuneSettings", "PretrainSettings", "RunSettings", "checked"]


class RunSettings(JobSettings):
    """What pretraining and fine-tuning share.

    ``lr`` is the base rate: the rate used is ``lr * batch_size / 256``, as in MAE. ``steps`` is the whole run, so it may be
    capped by ``max_steps`` whatever ``epochs`` says. Of a crop store, the groups (fields of view) in ``test_groups`` are
    never seen, neither by the weights nor by the choice among checkpoints; ``validation_groups`` are held out to choose by,
    in place of a draw of ``validation_share``. With ``sources`` the run cuts its crops itself before the first step.

    ``batch_size`` is that of a step, however many ``devices`` (of each of ``nodes`` machines) share it. ``strategy`` says
    what each of them holds: all weights (``ddp``, which ``auto`` is), or a shard of them (``fsdp``).
    """

    size: Literal["tiny", "small", "base"] = "tiny"
    init: str = "random"
    epochs: int = Field(50, ge=1, le=100_000)
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(64, ge=1, le=65_536)
    lr: float = Field(1e-3, gt=0, le=10)
    min_lr: float = Field(0.0, ge=0)
    weight_decay: float = Field(0.05, ge=0, le=1)
    betas: tuple[float, float] = (0.9, 0.95)
    warmup: float = Field(0.05, ge=0, lt=1)
    clip_gradient: float = Field(3.0, gt=0)
    seed: int = Field(0, ge=0, lt=2**31)
    devices: int = Field(1, ge=1, le=1024)  # of each machine, a process each
    nodes: int = Field(1, ge=1, le=1024)  # machines
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    checkpoint_seconds: float = Field(120.0, gt=0)
    log_every: int = Field(10, ge=1)
    validate_every: int = Field(500, ge=1)
    validation_share: float = Field(0.15, gt=0, lt=0.9)
    validation_groups: list[str] | None = None
    test_groups: list[str] = Field(default_factory=list)
    threads: int | None = Field(None, ge=1)
    previews: bool = True  # pictures at validations, see training.preview
    sources: Sources | None = None

    @model_validator(mode="before")
    @classmethod
    def _own_store(cls, raw: Any) -> Any:
        """A run that cuts its own crops keeps them in its folder."""
        if isinstance(raw, dict) and raw.get("sources") is not None and raw.get("out") is not None:
            name = "crops" if "crops" in cls.model_fields else "data"
            store = Path(raw["out"]) / STORE
            raw = {**raw, name: store if name == "crops" else [store]}
        return raw

    def with_own_store(self) -> Self:
        """The same run with its own crops where its folder is now; nothing changes for a run that is given a store."""
        if self.sources is None:
            return self
        store = self.out / STORE
        own: dict[str, Any] = {"crops": store} if "crops" in type(self).model_fields else {"data": [store]}
        return self.model_copy(update=own)

    def with_overrides(self, pairs: Iterable[str]) -> Self:
        """A copy with ``key=value`` strings applied, values read as YAML.

        Raises
        ------
        SettingsError
            If a pair has no ``=``, or names no setting, or its value does not fit.
        """
        # what was not given follows from the rest anew: another method brings its own mask ratio
        raw: dict[str, Any] = self.model_dump(exclude_unset=True)
        for pair in pairs:
            key, sign, text = pair.partition("=")
            key = key.strip()
            if not sign:
                raise SettingsError(f"--set takes key=value, got {pair!r}")
            if key not in type(self).model_fields:
                raise SettingsError(f"no setting {key!r}; there are: {', '.join(type(self).model_fields)}")
            try:
                value = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise SettingsError(f"--set {pair}: the value is no valid YAML") from error
            # YAML reads 1e-3 as text: a number needs its dot there
            raw[key] = _number(value) if isinstance(value, str) else value
        return checked(type(self), raw, where="--set")


METHOD_DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "dama": {},
    "dama-random": {},
    "mae": {},
    "data2vec": {"mask_ratio": 0.6, "ema_momentum": 0.9998, "ema_schedule": "constant"},
    "moco": {},
    "simmim": {"mask_ratio": 0.6, "normalise_patches": False},
}
"""What a method takes when a setting is not given, where that is another value than the field's own."""


class PretrainSettings(RunSettings):
    """Self-supervised pretraining on a crop store.

    What is not given takes the published value of the method. ``channels`` and ``nuclear`` follow from the store: the first
    may be set to insist on a number, the second to say which markers show nuclei. A teacher (data2vec, moco, or dama with
    ``second_network=ema``) keeps ``ema_momentum`` of its weights at each step, all along or rising to 1 as half a cosine.
    ``mask=published`` repeats a defect of the published code and is there for comparison only. ``mask_error`` is what the
    adaptive mask ranks patches by: the error of normalised patches, as published, or that in intensity.
    ``alpha=published`` is the weight that gives the regression the balance of the published sum over batch and tokens.
    """

    crops: Path
    method: Literal["dama", "dama-random", "mae", "data2vec", "moco", "simmim"] = "dama"
    channels: int | None = Field(None, ge=1)
    nuclear: list[str] | None = None
    image_px: int = Field(128, ge=32, le=1024)
    patch_px: int = Field(16, ge=4, le=64)
    mask_ratio: float = Field(0.8, gt=0, lt=1)
    overlap_ratio: float = Field(0.5, ge=0, le=1)
    mask: Literal["adaptive", "published"] = "adaptive"
    mask_error: Literal["normalised", "intensity"] = "normalised"
    last_blocks: int = Field(6, ge=1, le=12)  # every size has 12 blocks
    beta: float = Field(2.0, gt=0)
    alpha: float | Literal["published"] = 1.0
    pairing: Literal["aligned", "published", "pooled"] = "aligned"
    second_network: Literal["own", "shared", "ema"] = "own"
    normalise_patches: bool = True
    ema_momentum: float = Field(0.99, ge=0, le=1)
    ema_schedule: Literal["constant", "cosine"] = "cosine"
    temperature: float = Field(0.2, gt=0)
    projector_hidden: int = Field(4096, ge=1)
    projector_out: int = Field(256, ge=2)
    freeze_patches: bool = True
    decoder_depth: int | None = Field(None, ge=1, le=32)
    decoder_width: int | None = Field(None, ge=16)
    decoder_heads: int | None = Field(None, ge=1)

    @field_validator("alpha", mode="before")
    @classmethod
    def _weight(cls, value: object) -> object:
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
        if value != "published" and not number:
            raise ValueError("must be a number of at least 0, or published")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for name, value in METHOD_DEFAULTS[self.method].items():
            if name not in self.model_fields_set:
                object.__setattr__(self, name, value)  # and it still counts as not given
        if self.image_px % self.patch_px:
            raise ValueError(f"image_px {self.image_px} is not a multiple of patch_px {self.patch_px}")
        if self.method.startswith("dama"):
            overlap_count(self.tokens, self.mask_ratio, self.overlap_ratio)
        elif self.method != "moco":
            visible_count(self.tokens, self.mask_ratio)
        elif self.batch_size < 2:
            raise ValueError(
                f"moco tells crops of a batch apart: batch_size must be at least 2, got {self.batch_size}"
            )
        if self.mask == "published":
            self._published_mask()
        return self

    def _published_mask(self) -> None:
        if self.method != "dama":
            raise ValueError(
                f"mask=published is a defect of dama's code; method {self.method} has no such mask"
            )
        if self.pairing == "aligned":
            raise ValueError(
                "mask=published leaves another number of shared patches in each sample, so tokens cannot be aligned; "
                "choose pairing=published or pooled"
            )

    @property
    def tokens(self) -> int:
        """Patches of one input, L."""
        return (self.image_px // self.patch_px) ** 2

    def decoder(self) -> tuple[int, int, int]:
        """Depth, width and heads of the decoder: as set, or the paper's for base and lighter ones for small sizes."""
        usual = {"tiny": (4, 128, 4), "small": (4, 256, 8), "base": (8, 512, 16)}[self.size]
        given = (self.decoder_depth, self.decoder_width, self.decoder_heads)
        depth, width, heads = (g or u for g, u in zip(given, usual, strict=True))
        return depth, width, heads


class FinetuneSettings(RunSettings):
    """Supervised training of a typing or a segmentation head, with its encoder.

    ``mode`` says what learns: ``finetune`` the whole network, ``frozen`` our head on an encoder that stays as it is,
    ``linear-probe`` (types only) one linear layer after a batch norm on mean-pooled tokens, as in MAE (or, with
    ``pool=centre``, on those of the middle as well); that mode sets ``zoom`` and ``use_pixels`` by itself.
    ``freeze_encoder`` is the older name of ``frozen``; both other modes set it.

    ``balance`` draws cells with a weight of 1 / sqrt(class size), in equal shares of each class (``uniform``), or every
    cell once per epoch (``none``). ``mixup``, ``cutmix`` (the alphas of their beta distributions), ``erasing`` (a share of
    crops) and ``label_smoothing`` are the paper's tricks; 0 is off. ``augment`` is on by itself but for linear probes.

    ``classes`` is a list, or ``found`` (those of the data), or ``parent`` (those of the model it starts from). By itself it
    is the parent's list where the parent tells types and knows all that were found, else those found.

    ``areas`` are areas of slides whose cells were outlined by hand (segments), in place of folders of labelled slides.
    """

    task: Literal["types", "segments"]
    data: list[Path] = Field(min_length=1)
    mode: Literal["finetune", "frozen", "linear-probe"] = "finetune"
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: float = Field(0.75, gt=0, le=1)
    drop_path: float = Field(0.1, ge=0, lt=1)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    mixup: float = Field(0.0, ge=0, le=10)
    cutmix: float = Field(0.0, ge=0, le=10)
    erasing: float = Field(0.0, ge=0, le=1)
    balance: Literal["sqrt", "none", "uniform"] = "sqrt"
    augment: bool | None = None
    freeze_encoder: bool = False
    pool: Literal["mean", "centre"] = "centre"
    zoom: float = Field(1.5625, ge=1, le=4)  # types: the central 64 of 100 px
    image_px: int | None = Field(None, ge=32, le=1024)  # with init=random; otherwise the parent's
    tile_px: int = Field(256, ge=128)
    use_pixels: bool = True
    use_tokens: bool = True
    head: Head = "dense"  # segments: dense maps, or ViTDet + Mask R-CNN as in the paper
    detections: int = Field(1000, ge=1, le=100_000)  # mask-rcnn: most cells of an image of 640 x 640 px
    anchors_px: Anchors = ANCHORS
    classes: list[str] | Literal["found", "parent"] | None = None
    label_share: float = Field(1.0, gt=0, le=1)  # types: of each class's training cells
    label_seed: int = Field(0, ge=0, lt=2**31)
    areas: Areas | None = None

    @model_validator(mode="before")
    @classmethod
    def _own_areas(cls, raw: Any) -> Any:
        """Outlines that were drawn by hand lie in the run's folder."""
        if isinstance(raw, dict) and raw.get("areas") is not None and raw.get("out") is not None:
            raw = {**raw, "data": [Path(raw["out"]) / ANNOTATIONS]}
        return raw

    @property
    def augmented(self) -> bool:
        """Whether crops of types are varied."""
        return self.mode != "linear-probe" if self.augment is None else self.augment

    @model_validator(mode="after")
    def _whole_windows(self) -> Self:
        if self.tile_px % 128:
            raise ValueError(f"tile_px must be a multiple of 128, got {self.tile_px}")
        if self.head == "mask-rcnn" and not self.use_tokens:
            raise ValueError(
                "head=mask-rcnn is built on the encoder's tokens; use_tokens=false takes head=dense"
            )
        return self

    @model_validator(mode="after")
    def _probe_of_types(self) -> Self:
        if self.mode != "finetune":
            object.__setattr__(self, "freeze_encoder", True)  # and it still counts as not given
        if self.mode == "linear-probe" and "pool" not in self.model_fields_set:
            object.__setattr__(self, "pool", "mean")
        if self.mode == "linear-probe" and self.task != "types":
            raise ValueError("mode linear-probe is for task types; for segments take mode=frozen")
        if self.mode == "linear-probe" and self.batch_size < 2:
            raise ValueError("mode linear-probe has a batch norm and needs a batch_size of at least 2, got 1")
        return self

    @model_validator(mode="after")
    def _splits_of_stores_only(self) -> Self:
        if self.task == "segments" and self.sources is not None:
            raise ValueError(
                "sources are for crops (task types); for segments, give folders of labelled slides"
            )
        if self.task == "types" and self.areas is not None:
            raise ValueError(
                "areas are for outlines (task segments); for types, give sources or a crop store"
            )
        if self.task == "segments" and (self.validation_groups or self.test_groups or self.label_share < 1):
            raise ValueError(
                "validation_groups, test_groups and label_share are for crop stores (task types); for segments, give "
                "the folders to train on"
            )
        return self


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
