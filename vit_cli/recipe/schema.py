"""The schema of a recipe: its sections, every key with its type, bounds and default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from vit_cli.augment.mix import Mix
from vit_cli.augment.transforms import Transform
from vit_cli.data.source import Source
from vit_cli.data.split import Parting
from vit_cli.models import Model
from vit_cli.models.positions import Stretch
from vit_cli.models.recompute import Recompute
from vit_cli.models.teacher import TorchvisionTeacher
from vit_cli.optim.distillation import Distillation
from vit_cli.optim.losses import CrossEntropy, Loss
from vit_cli.optim.optimizer import Optimizer
from vit_cli.optim.schedule import Cosine, Schedule
from vit_cli.section import DataPath, Duration, Positive, Res, Section, Share, TaskName, as_grid
from vit_cli.track.trackers import TrackTo

Compile = Literal["auto", "off", "blocks", "model"]
Length = Annotated[int, Field(gt=0, le=1_000_000_000)]


class Data(Section):
    """Where images come from and how they are read."""

    train: Source = Field(description="the images to learn from; their classes are the model's")
    val: Source | None = Field(None, description="the images to judge by; null holds out a part of train")
    hold_out: float = Field(0.2, gt=0, lt=1, description="share of train that is held out where val is null")
    fold: NonNegativeInt = Field(
        0, description="which such part, from 0: they have no image in common; 5 folds of 0.2 are cross-validation"
    )
    fraction: float = Field(
        1.0, gt=0, le=1, description="share of each class that is trained on, of what is not held out"
    )
    workers: Literal["auto"] | NonNegativeInt = Field(
        "auto", description="processes that read images; 0 reads in place"
    )
    cache: Literal["auto", "none", "ram", "device"] = Field(
        "auto", description="keep decoded images in memory, or on the GPU if all have one size; auto: in memory if few"
    )
    cache_size: Positive | None = Field(None, description="short side that larger images are reduced to when kept")
    augment_on: Literal["auto", "workers", "device"] = Field(
        "auto", description="where images are changed once they have the model's size; auto: on a GPU if there is one"
    )
    decode: Literal["cpu", "gpu"] = Field(
        "cpu", description="where JPEGs to learn from are decoded; gpu: by nvJPEG, whose pixels differ a little"
    )
    max_bad: Share = Field(
        0.001, description="the share of training images that may be broken, at least one image; 0: none"
    )
    timeout: Positive = Field(1800, description="seconds without an image after which the run ends")
    max_pixels: Positive = Field(64_000_000, description="the largest image that is decoded")
    repeats: Positive = Field(1, description="views of an image in a batch (repeated augmentation)")
    mean: tuple[float, float, float] = Field((0.5, 0.5, 0.5), description="taken off red, green and blue in [0, 1]")
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field((0.5, 0.5, 0.5), description="divides them then")

    @model_validator(mode="after")
    def changes_what_is_decoded(self) -> Data:
        if self.decode == "gpu" and self.augment_on == "workers":
            raise ValueError(
                "workers can't change images that decode: gpu leaves encoded; augment_on must be auto or device"
            )
        return self

    @model_validator(mode="after")
    def has_this_fold(self) -> Data:
        if self.fold and self.val is not None:
            raise ValueError("fold is for images that are held out of train, where val is null")
        if (self.fold + 1) * self.hold_out > 1 + 1e-9:
            raise ValueError(
                f"there is no fold {self.fold} of {self.hold_out:g}; the last is {int(1 / self.hold_out + 1e-9) - 1}"
            )
        return self

    @property
    def parting(self) -> Parting:
        """Which images are held out, and how many of the others are trained on."""
        return Parting(self.hold_out, self.fold, self.fraction)


class Ema(Section):
    """A moving average of the weights, which is what is evaluated and kept."""

    decay: float = Field(0.9999, ge=0, lt=1)
    warmup: bool = Field(True, description="start with a smaller decay: (1 + step) / (10 + step)")


class EarlyStop(Section):
    """The end of a run that no longer gets better."""

    patience: Positive = Field(10, description="evaluations without a better one")
    metric: Literal["score", "loss", "top1"] = Field("score", description="score: top-1, mAP or R squared, by the task")
    min_delta: NonNegativeFloat = Field(0.0, description="what counts as better")


class Phase(Section):
    """A part of a run that sees less of its images, and so costs less: at a smaller res, without some patches, or both."""

    until: Duration = Field(description="its end; it begins where the phase before ends, the first at the start")
    res: Res | None = Field(None, description="pixels of the training images; null: model.res")
    drop_tokens: float = Field(0.0, ge=0, lt=1, description="share of its patches that each image is trained without")

    def __str__(self) -> str:
        parts = [] if self.res is None else [f"{as_grid(self.res)} pixels"]
        parts += [f"without {100 * self.drop_tokens:.3g} % of the patches"] if self.drop_tokens else []
        return f"{' '.join(parts) or 'all'} to {self.until}"


class Train(Section):
    """How long, in which batches and in which precision to train."""

    either: ClassVar = (("epochs", "steps"),)

    epochs: Length | None = Field(None, description="either this or steps")
    steps: Length | None = Field(None, description="either this or epochs")
    batch_size: Positive = Field(description="images of a step, over all processes")
    micro_batch: Literal["auto"] | Positive | None = Field(
        None, description="images that go through the model at once on a process; auto: as many as fit, null: all"
    )
    clip_norm: PositiveFloat | None = Field(1.0, description="largest norm of the gradient")
    precision: Literal["auto", "fp32", "bf16", "bf16_stream"] = Field(
        "auto",
        description="auto: bf16 where the device computes in it and the model is wide enough; "
        "bf16_stream: tokens are added up in bf16 too, not in float32",
    )
    compile: Compile = Field(
        "auto", description="torch.compile for each block or for the whole model; auto: off, for now"
    )
    recompute: Recompute = Field(
        "none",
        description="keep less for the backward pass and go forwards again there, in the MLPs or in whole blocks",
    )
    graph: Literal["auto", "off", "on"] = Field(
        "auto",
        description="a whole step as one CUDA graph, for small batches on one GPU; auto is off: no GPU was measured yet",
    )
    phases: tuple[Phase, ...] = Field(
        (), description="cheaper parts of the run, in order; what is left is trained at model.res on all patches"
    )
    ema: Ema | None = None
    early_stop: EarlyStop | None = None
    max_nonfinite: NonNegativeInt = Field(0, description="steps in a row that may be skipped for not being finite")
    shard: Literal["none", "full"] = Field("none", description="full: part weights and moments among the processes")
    deterministic: bool = Field(False, description="only operations that repeat to the bit, slower on a GPU")

    @model_validator(mode="after")
    def has_one_length(self) -> Train:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give one of epochs and steps" + ("" if self.epochs is None else ", not both"))
        return self

    @property
    def length(self) -> Duration:
        """How long the whole run is."""
        return Duration(f"{self.steps} steps" if self.epochs is None else f"{self.epochs} epochs")


class Eval(Section):
    """When and how to judge the model."""

    every: Duration = Field(Duration("1 epoch"), description="how often")
    batch_size: Positive | None = Field(None, description="images at once on a process; null: as in training")
    crop: float = Field(0.875, gt=0, le=1, description="share of the shorter side that is kept, with resize short")
    resize: Literal["short", "squash"] = Field("short", description="keep the shape and crop, or squash to a square")
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"


class Save(Section):
    """When to write checkpoints, and how many to keep."""

    every: Duration = Field(Duration("1 epoch"), description="how often")
    keep: Positive = Field(3, description="so many of the newest are kept, besides the best")


class Track(Section):
    """How often to write down the loss, and where else than in the run folder's own files."""

    log_every: Duration = Field(Duration("50 steps"), description="a row of steps.jsonl")
    to: tuple[TrackTo, ...] = Field((), description="trackers that get the same numbers; each is an extra to install")


class Adaptation(Section):
    """How weights are fitted to another resolution and other classes."""

    head: Literal["auto", "keep", "new"] = Field("auto", description="auto keeps the head if the classes are the same")
    positions: Stretch | Literal["new"] = Field(
        Stretch(), description="how tables are brought to another grid; new: they are drawn anew, whatever the grid"
    )


class Finetune(Adaptation):
    """Training that starts from weights."""

    weights: DataPath = Field(description="a run folder, a checkpoint or a model folder")


class OpenFinetune(Adaptation):
    """The same in a fine-tuning recipe, which is for any weights."""

    weights: DataPath | None = None


class Distill(Distillation):
    """Training that also learns from what a trained network answers to the same images."""

    teacher: TorchvisionTeacher | DataPath = Field(
        description="a run folder, a checkpoint, a model folder, or a section that names a model of torchvision's"
    )

    @property
    def source(self) -> Path:
        """The file or folder with the teacher's weights."""
        return self.teacher if isinstance(self.teacher, Path) else self.teacher.weights


class Choices(Section):
    """What a recipe says apart from the model and the data."""

    seed: int = Field(0, ge=0, le=2**63 - 1, description="all that is random follows from it")
    task: TaskName = Field("classification", description="what to tell: one class, several labels, or numbers")
    augment: tuple[Transform, ...] = Field((), description="what is done to a training image, in order")
    mix: Mix = Mix()
    loss: Loss = Field(
        CrossEntropy(), description="by default that of the task: cross_entropy, binary_cross_entropy, mse"
    )
    distill: Distill | None = None
    optim: Optimizer
    schedule: Schedule = Cosine()
    train: Train
    eval: Eval = Eval()
    save: Save = Save()
    track: Track = Track()


class Recipe(Choices):
    """All that a run of `vit train` was asked to do."""

    model: Model
    data: Data
    finetune: Finetune | None = None


class FinetuneRecipe(Choices):
    """What a run of `vit finetune` was asked to do; the model, and the data if left out, come with the weights."""

    data: Data | None = None
    finetune: OpenFinetune
