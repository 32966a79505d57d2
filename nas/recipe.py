"""`Recipe`: how a candidate is trained, as settings that YAML gives; nothing here needs JAX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from nas.core.settings import check_ranges

JOINT = ("scale", "zoom_out", "crop", "brightness", "contrast", "saturation", "mosaic")  # of images with masks or boxes alone
PHOTO_CROP = 0.125  # of the side, as the usual 4 pixels are of CIFAR's 32


@dataclass(frozen=True)
class Augment:
    """How training images are changed at random.

    Args:
        crop_padding: Pixels that are added on each side before a crop of the image's own size at a random place, below 1 a
            fraction of the side; 0: none; None: `PHOTO_CROP` of the side for photographs, otherwise none.
        padding: What is added: zeros, or the image mirrored.
        flip: Whether every second image, at random, is mirrored left and right; None: for photographs alone.
        cutout: Side in pixels of a square that is blanked around a random point, cut off at the border; 0: none.
        policy: After crop and flip, AutoAugment (ImageNet's) or RandAugment; see `nas.data.policies`.
        layers: Operations of RandAugment.
        magnitude: Of RandAugment, 0 to 30.
        scale: With masks or boxes, as all below: the smallest and the largest multiple of its size that an image gets; of a larger
            one a random crop is seen, around a smaller one is padding. None: none.
        zoom_out: The largest side, as a multiple, of a canvas that every second image is put on; 0: none; SSD has 4.
        crop: `iou`: SSD's crop, in which some object has a random least overlap with it; boxes whose center is cropped are dropped.
        brightness: Strength b of a random factor of 1 - b to 1 + b; 0: none.
        contrast: The same of the difference from the mean gray.
        saturation: The same of the difference from gray.
        mosaic: Fraction of the images that become one of four images of the batch; 0: none.

    Raises:
        ValueError: For a value out of range, naming the key.

    Source:
        Cutout: DeVries and Taylor 2017 (arXiv:1708.04552). For masks and boxes see `nas.data.augment_targets`.
    """

    crop_padding: int | float | None = None
    padding: Literal["zero", "reflect"] = "zero"
    flip: bool | None = None
    cutout: int = 0
    policy: Literal["none", "autoaugment", "randaugment"] = "none"
    layers: int = 2
    magnitude: float = 9.0
    scale: tuple[float, float] | None = None
    zoom_out: float = 0.0
    crop: Literal["none", "iou"] = "none"
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    mosaic: float = 0.0

    def __post_init__(self) -> None:
        for key in ("crop_padding", "cutout"):
            if (getattr(self, key) or 0) < 0:
                raise ValueError(f"{key}: expected 0 or more pixels, got {getattr(self, key)}")
        if not 1 <= self.layers <= 16:
            raise ValueError(f"layers: expected 1 to 16, got {self.layers}")
        if not 0 <= self.magnitude <= 30:
            raise ValueError(f"magnitude: expected 0 to 30, got {self.magnitude}")
        if isinstance(self.crop_padding, float) and self.crop_padding >= 1 and not self.crop_padding.is_integer():
            raise ValueError(f"crop_padding: expected whole pixels, or a fraction of the side below 1, got {self.crop_padding:g}")

        if self.scale is not None and not 0.1 <= self.scale[0] <= self.scale[1] <= 10:
            raise ValueError(f"scale: expected two multiples from 0.1 to 10, the smaller first, or null, got {list(self.scale)}")
        if self.zoom_out and not 1 < self.zoom_out <= 10:
            raise ValueError(f"zoom_out: expected 0, or more than 1 and at most 10, got {self.zoom_out:g}")
        check_ranges(self, brightness=(0, 1), contrast=(0, 1), saturation=(0, 1), mosaic=(0, 1))

    @property
    def joint(self) -> tuple[str, ...]:
        """The settings of masks and boxes that are on."""
        return tuple(key for key in JOINT if getattr(self, key) not in (None, 0, "none"))

    def pixels(self, side: int) -> int:
        """`crop_padding` of images with this side; what is not decided is none."""
        padding = self.crop_padding or 0
        return round(padding * side) if padding < 1 else int(padding)

    def decided(self, side: int, photographs: bool) -> Augment:
        """With pixels, and nothing left open.

        Args:
            side: Of the images, in pixels.
            photographs: What the images are.

        Returns:
            The same settings with whole pixels and true or false.

        Example:
            >>> Augment().decided(64, photographs=True).crop_padding
            8
        """
        padding = self.crop_padding if self.crop_padding is not None else PHOTO_CROP * photographs
        flip = photographs if self.flip is None else self.flip
        return replace(self, crop_padding=replace(self, crop_padding=padding).pixels(side), flip=flip)


@dataclass(frozen=True)
class EmbeddingLoss:
    """How embeddings are trained, by the images of a batch or by a softmax over the training classes.

    Args:
        loss: Of triplets: `batch_all`, all that violate the margin; `batch_hard`, for each image the farthest of its class and
            the nearest of another; `semi_hard`, as FaceNet; `semi_hard_all`, as TensorFlow Addons. Of pairs: `contrastive`.
            Against a learned center a class: `arcface`.
        margin: By which images of other classes should be farther, of squared distances (triplets) or of distances
            (`contrastive`); radians of `arcface`; None: 0.2, 1 and 0.5.
        scale: What `arcface` multiplies cosines by.
        per_class: Images of each class that a batch has, where the class has so many.

    Raises:
        ValueError: For a value out of range, naming the key.

    Source:
        FaceNet: Schroff et al. 2015 (arXiv:1503.03832). Batch-all and batch-hard: Hermans et al. 2017 (arXiv:1703.07737).
        ArcFace: Deng et al. 2019 (arXiv:1801.07698).
    """

    loss: Literal["batch_all", "batch_hard", "semi_hard", "semi_hard_all", "contrastive", "arcface"] = "batch_all"
    margin: float | None = None
    scale: float = 30.0
    per_class: int = 4

    def __post_init__(self) -> None:
        if self.margin is not None and not 0 <= self.margin < 4:
            raise ValueError(f"margin: expected 0 or more and less than 4, or null, got {self.margin}")
        if not 0 < self.scale < float("inf"):
            raise ValueError(f"scale: expected a number above 0, got {self.scale}")
        if self.per_class < 2:
            raise ValueError(f"per_class: expected 2 or more, so that a batch has pairs, got {self.per_class}")


@dataclass(frozen=True)
class DetectionLoss:
    """How detectors are trained, by default boxes that answer objects (positive) and the background (negative).

    Args:
        boxes: `smooth_l1` of the codes of positive default boxes, as SSD (of the head `yolo` for sizes; centers within a cell have a
            logistic loss); `giou`, of the boxes themselves.
        box_weight: What the loss of boxes is multiplied by.
        negatives: Of a head with `scores: softmax`, the negative default boxes that count for each positive one of an image, the
            hardest first.
        least_negatives: Of an image with few objects, or none.
        alpha: Of a head with `scores: sigmoid`, whose loss is the focal one: the weight of a class that is there, against 1 - alpha
            of one that is not. Of the head `yolo` with `objectness` focal: of boxes with an object.
        gamma: Of the same, how much easy default boxes count less; 0: alike.
        objectness: Of the head `yolo`, the loss of whether a box has an object: `logistic`, or `focal`.
        ignore: Of the same, IoU with an object beyond which a box that answers none is no background.

    Raises:
        ValueError: For a value out of range, naming the key.

    Source:
        SSD: Liu et al. 2016 (arXiv:1512.02325). GIoU: Rezatofighi et al. 2019 (arXiv:1902.09630). Focal loss: Lin et al. 2017
        (arXiv:1708.02002). YOLO: Redmon and Farhadi 2018 (arXiv:1804.02767).
    """

    boxes: Literal["smooth_l1", "giou"] = "smooth_l1"
    box_weight: float = 1.0
    negatives: float = 3.0
    least_negatives: int = 3
    alpha: float = 0.25
    gamma: float = 2.0
    objectness: Literal["logistic", "focal"] = "logistic"
    ignore: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.box_weight < float("inf"):
            raise ValueError(f"box_weight: expected a number above 0, got {self.box_weight}")
        for key in ("negatives", "least_negatives", "gamma"):
            if not 0 <= getattr(self, key) < float("inf"):
                raise ValueError(f"{key}: expected 0 or more, got {getattr(self, key)}")
        if not self.negatives and not self.least_negatives:
            raise ValueError("negatives: with 0 and least_negatives of 0 nothing is trained to be background")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha: expected more than 0 and less than 1, got {self.alpha}")
        if not 0 < self.ignore <= 1:
            raise ValueError(f"ignore: expected more than 0 and at most 1, got {self.ignore}")


@dataclass(frozen=True)
class Recipe:
    """The settings of one training.

    Args:
        epochs: Passes over the training images; what does not fill a batch is left out of a pass.
        batch: Images a step.
        optimizer: `sgd` with momentum; `rmsprop` as TensorFlow 1 has it (decay 0.9, epsilon 0.001 inside the root,
            accumulator from 1, learning rate inside the momentum buffer); `adamw` with `momentum` as its b1.
        lr: The highest learning rate, at this batch (it is not scaled to it).
        momentum: Of the optimizer.
        warmup_epochs: Epochs of a linear rise from 0; None: a twentieth of `horizon`, at most 5.
        schedule: `cosine` to 0; `staircase`, lr * decay_rate ^ floor(epoch / decay_epochs) counted from the first step;
            `poly`, lr * (1 - progress) ^ power to 0, as segmentation networks are trained; `constant`.
        power: Of `poly`.
        decay_rate: Of the staircase.
        decay_epochs: Of the staircase.
        schedule_epochs: Epochs that cosine and poly are laid out for, of which `epochs` are run, so that a short training is the
            beginning of a longer one; None: all of them.
        weight_decay: Of convolution and dense kernels only: L2 added to the loss for sgd and rmsprop, decoupled for adamw.
        label_smoothing: Fraction of a label that is spread over all classes.
        ema: Decay of a moving average of weights and batch statistics that is validated and returned instead of them;
            after t updates it is min(ema, (1 + t) / (10 + t)). 0: none.
        norm_warmup: Whether the momentum of batch norm's averages has the same ramp where they start from initial values, near
            which a short training would leave them. Those of trained weights keep their momentum.
        fixed_norms: Whether batch norms compute by the statistics that they start with, in training too, and keep them; for
            trained weights. Their scales and offsets are trained.
        dtype: What layers compute in; auto: bfloat16 on accelerators, float32 on a CPU. Weights, statistics and outputs are float32.
        validate_every: Epochs between validations on the way; 0: at the end alone.
        patience: Validations without a better result after which a training ends with the weights of the best one; 0: it
            runs to its end and keeps the last weights.
        accumulate: Batches whose mean gradient makes one update, so that batch * accumulate images count as one batch.
        mixup: a of the Beta(a, a) that the fractions of two images are drawn from; 0: none. With cutmix set too, each step
            takes one of the two.
        cutmix: The same of CutMix.
        class_weights: `balanced`: the loss of an image is weighted by images / (classes * images of its class), so that each
            class has the same part in it. Of segmentation: that of a pixel, by the median frequency of the classes over that of its own.
        dice: Of segmentation, the weight of the Dice loss that is added; 0: none.
        distill: With a teacher, the weight of its answers in the loss; the labels keep the rest.
        temperature: What logits are divided by where the two are compared.
        match_features: With a teacher, the weight of the distance between the last feature maps of both, added to the loss.
        freeze: Parts of the network, as `nas.arch.parts` names them, that stay as they are: their weights, and their batch
            norms, which use their moving statistics and leave them; neither dropout nor stochastic depth acts in them.
        freeze_epochs: Epochs that `freeze` holds for, after which all is trained and the optimizer starts anew, the schedule
            as if nothing had been; None: all of them.
        lr_scale: What the learning rate is multiplied by, by part; of parts that have a layer in common, the smallest decides.
        augment: How images are changed.
        embedding: The loss of networks whose head is `embedding`; without meaning for others.
        detection: The loss of detectors; without meaning for others.

    Raises:
        ValueError: For a value out of range, naming the key.

    Source:
        Mixup: Zhang et al. 2017 (arXiv:1710.09412). CutMix: Yun et al. 2019 (arXiv:1905.04899). Distillation: Hinton et al.
        2015 (arXiv:1503.02531). Features: FitNets, Romero et al. 2015 (arXiv:1412.6550).

    Example:
        >>> Recipe(epochs=3, schedule_epochs=10).horizon
        10
    """

    epochs: int = 5
    batch: int = 64
    optimizer: Literal["sgd", "rmsprop", "adamw"] = "sgd"
    lr: float = 0.08
    momentum: float = 0.9
    warmup_epochs: float | None = 0.5
    schedule: Literal["cosine", "staircase", "poly", "constant"] = "cosine"
    power: float = 0.9
    decay_rate: float = 0.97
    decay_epochs: float = 2.4
    schedule_epochs: int | None = None
    weight_decay: float = 4e-5
    label_smoothing: float = 0.0
    ema: float = 0.0
    norm_warmup: bool = True
    fixed_norms: bool = False
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    validate_every: int = 0
    patience: int = 0
    accumulate: int = 1
    mixup: float = 0.0
    cutmix: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    dice: float = 0.0
    distill: float = 0.5
    temperature: float = 4.0
    match_features: float = 0.0
    freeze: tuple[str, ...] | None = None
    freeze_epochs: int | None = None
    lr_scale: Mapping[str, float] | None = field(default=None, hash=False)
    augment: Augment = field(default_factory=Augment)
    embedding: EmbeddingLoss = field(default_factory=EmbeddingLoss)
    detection: DetectionLoss = field(default_factory=DetectionLoss)

    def __post_init__(self) -> None:
        for key in ("epochs", "batch", "accumulate"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}: expected 1 or more, got {getattr(self, key)}")
        for key in ("lr", "power", "decay_rate", "decay_epochs", "temperature"):
            if not 0 < getattr(self, key) < float("inf"):
                raise ValueError(f"{key}: expected a number above 0, got {getattr(self, key)}")
        for key in ("momentum", "label_smoothing", "ema"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"{key}: expected 0 or more and less than 1, got {getattr(self, key)}")
        for key in ("weight_decay", "validate_every", "patience", "mixup", "cutmix", "dice", "match_features"):
            if not 0 <= getattr(self, key) < float("inf"):
                raise ValueError(f"{key}: expected 0 or more, got {getattr(self, key)}")
        if not 0 < self.distill <= 1:
            raise ValueError(f"distill: expected more than 0 and at most 1, got {self.distill}")
        if self.patience and not self.validate_every:
            raise ValueError("patience: needs validations on the way; set validate_every, such as 1")
        if self.horizon < self.epochs:
            raise ValueError(
                f"schedule_epochs: expected {self.epochs} (epochs) or more, or null, got {self.schedule_epochs}"
            )
        if not 0 <= self.warmup <= self.horizon:
            raise ValueError(f"warmup_epochs: expected 0 to {self.horizon} (epochs), got {self.warmup_epochs}")
        self._check_parts()

    def _check_parts(self) -> None:
        if isinstance(self.freeze, str):
            raise ValueError(f"freeze: expected a list of parts, such as [backbone], got {self.freeze!r}")
        if self.freeze_epochs is not None and not self.freeze:
            raise ValueError("freeze_epochs: needs freeze, the parts that are not trained until then")
        if self.freeze_epochs is not None and not 1 <= self.freeze_epochs < self.horizon:
            raise ValueError(
                f"freeze_epochs: expected at least 1 and less than {self.horizon} (epochs), or null, got {self.freeze_epochs}"
            )
        for part, factor in (self.lr_scale or {}).items():
            if not 0 <= factor < float("inf"):
                raise ValueError(f"lr_scale.{part}: expected 0 or more, got {factor}")

    @property
    def horizon(self) -> int:
        """Epochs that the learning rate is laid out for."""
        return self.epochs if self.schedule_epochs is None else self.schedule_epochs

    @property
    def warmup(self) -> float:
        """Epochs of the linear rise."""
        return min(5.0, self.horizon / 20) if self.warmup_epochs is None else self.warmup_epochs
