"""MViTv2's checkpoints: facebookresearch's picture and video files, timm's, and detectron2's.

Sources: facebookresearch/mvit mvit/utils/checkpoint.py (CHECKPOINT_SQUEEZE_TEMPORAL),
facebookresearch/SlowFast slowfast/utils/checkpoint.py (CHECKPOINT_IN_INIT, CHECKPOINT_INFLATE),
timm mvitv2.py (`checkpoint_filter_fn`), detectron2 projects/MViTv2. Our names are SlowFast's and,
for the pyramid, detectron2's.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.adapted import Adapted
from edgevit.networks.card import ModelCard
from edgevit.networks.mvitv2.cards import CARDS
from edgevit.networks.mvitv2.checkpoint_names import (
    FIRST_POOL,
    PATCH,
    is_from_timm,
    is_kernel,
    official_names,
    squeezed,
)
from edgevit.networks.mvitv2.network import (
    IMAGE,
    PATCH_KERNEL,
    PATCH_STRIDE,
    Config,
    config_of,
    plan_blocks,
    resize_table,
    with_cls_token,
)

# facebookresearch's, then timm's in the order in which its own loader takes them.
PREFER = ("model_state", "state_dict_ema", "state_dict", "model")

OPTIONS = ("cls_token", "inflate")
SSV2_CLASSES = 174  # of Something-Something v2, which samples its frames otherwise than Kinetics
# How a picture's convolution becomes a clip's: copied to every frame as SlowFast's
# CHECKPOINT_IN_INIT does it, copied and divided by their number as CHECKPOINT_INFLATE (I3D), or put
# at the center frame between zeros, which the paper describes.
INFLATIONS = ("center", "repeat", "mean")
TASK_OPTIONS = {"classification": ("cls_token",), "video": ("inflate",), "features": ()}

# Of a detector's file: its region proposals and its box and mask heads are no part of the backbone.
DETECTOR_HEADS = ("proposal_generator.", "roi_heads.")
# Of a classifier's file that starts a pyramid: detectron2 has none of these.
CLASSIFIER_PARTS = ("cls_token", "norm.", "head.")
# Of what shapes may tell: a few bytes must not make us build a network of gigabytes.
MAX_CLASSES, MAX_GRID, MIN_FRAMES, MAX_FRAMES, MIN_SIDE = 65_536, 1024, 2, 512, 32


def configure(
    card: ModelCard,
    input_size: tuple[int, ...],
    num_classes: int | None,
    options: Mapping[str, object],
) -> Config:
    """The variant's configuration at this size with the caller's options; raises `UsageError`."""
    config = config_of(card)
    _check_size(card, input_size)
    allowed = TASK_OPTIONS[card.task]
    for name, value in options.items():
        if name not in allowed:
            has = f"it has {' and '.join(allowed)}" if allowed else "it has none"
            raise UsageError(
                f"{card.name} has no option {name!r}; {has}.", next=f"edgevit info {card.name}"
            )
        if name == "inflate" and value not in INFLATIONS:
            raise UsageError(f"inflate={value!r} is not one of {', '.join(INFLATIONS)}.")
        if name == "cls_token":
            if value not in (0, 1):  # False and True are these
                raise UsageError(f"cls_token={value!r} is neither 0 nor 1.")
            config = with_cls_token(config) if value else replace(config, cls_token=False)
    config = replace(config, input_size=tuple(input_size))
    return replace(config, num_classes=num_classes) if num_classes else config


def _check_size(card: ModelCard, size: tuple[int, ...]) -> None:
    if len(size) != len(card.input_size):
        wanted = "frames, height and width" if card.task == "video" else "height and width"
        raise UsageError(f"{card.name} takes an input size of {wanted}.")
    *frames, height, width = size
    step = card.size_multiple
    if height % step or width % step or min(height, width) < MIN_SIDE:
        steps = f"that are multiples of {step} pixels" if step > 1 else "of any number of pixels"
        raise UsageError(
            f"{card.name} takes sides {steps} from {MIN_SIDE}, not {height}x{width}.",
            next=f"edgevit info {card.name}",
        )
    if any(not MIN_FRAMES <= count <= MAX_FRAMES for count in frames):
        raise UsageError(
            f"{card.name} takes {MIN_FRAMES} to {MAX_FRAMES} frames, not {frames[0]}.",
            next=f"edgevit info {card.name}",
        )


def adapt(
    tensors: Mapping[str, Tensor],
    card: ModelCard,
    config: Config,
    options: Mapping[str, object],
) -> Adapted[Config]:
    """Bring a state dict to the network of `card`; what its shapes tell overrides the variant's
    defaults.

    timm's files with a class token select timm's rule for that token (its query is added too).
    Raises `CheckpointError` where an option contradicts the file or is missing.
    """
    names = official_names(tensors)
    if len(set(names.values())) < len(names):
        raise CheckpointError(
            "The checkpoint has the same tensor twice, under the names of two projects.",
            next="edgevit list",
        )
    named = squeezed({names[key]: value for key, value in tensors.items()})
    if card.task == "features":
        return _pyramid(named, config)
    inferred = _infer(named, config, options)
    if card.task == "classification":
        inferred = replace(inferred, cls_query=inferred.cls_token and is_from_timm(tensors))
        preparation = "timm-mvit" if is_from_timm(tensors) else None
        return Adapted(inferred, _resized(named, inferred, inferred), preparation=preparation)
    if not _is_picture_file(named):
        return _clips(named, card, inferred, options)
    if "inflate" not in options:
        raise CheckpointError(
            f"The checkpoint is a picture network's: {card.name} can start from it, but must be"
            f" trained before it is exported, with the option inflate: {', '.join(INFLATIONS)}.",
            next=f"in Python, create_model({card.name!r}, weights=..., inflate='center')",
        )
    # The picture's classes are not the video network's, which keeps its own count.
    inferred = replace(inferred, num_classes=config.num_classes)
    return _inflated(named, card, inferred, str(options["inflate"]))


def _clips(
    tensors: Mapping[str, Tensor],
    card: ModelCard,
    config: Config,
    options: Mapping[str, object],
) -> Adapted[Config]:
    """A video file. Tables stay as stored: the network stretches them where its maps ask for more
    or fewer rows, as SlowFast does where it is tested at another size than it was trained at.
    """
    if "inflate" in options and FIRST_POOL in tensors:
        raise CheckpointError(
            "inflate was given, but the checkpoint is not that of a picture network.",
            next="leave inflate out",
        )
    large = "-l" if card.variant == "l" else ""  # normalizes as ImageNet's networks do
    preparation = f"mvit-video-ssv2{large}" if config.num_classes == SSV2_CLASSES else None
    stored = replace(config, table_size=_stored_size(tensors, config))
    return Adapted(stored, tensors, preparation=preparation)


def _is_picture_file(tensors: Mapping[str, Tensor]) -> bool:
    patch = tensors.get(PATCH)
    return patch is not None and patch.ndim == 4 and FIRST_POOL in tensors


def _infer(tensors: Mapping[str, Tensor], config: Config, options: Mapping[str, object]) -> Config:
    """Classes, class token and where channels double, as far as keys and shapes tell them."""
    head = tensors.get("head.projection.weight")
    if head is not None and head.ndim == 2:
        if not 1 <= head.shape[0] <= MAX_CLASSES:
            raise CheckpointError(
                f"The checkpoint's head has {head.shape[0]} classes; no MViTv2 has that.",
                next="edgevit list",
            )
        config = replace(config, num_classes=head.shape[0])
    if "cls_token" in tensors:
        if "cls_token" in options and not options["cls_token"]:
            raise CheckpointError(
                "The checkpoint has a class token, but cls_token=0 was given.",
                next="leave cls_token out: it is read from the checkpoint",
            )
        config = replace(config, cls_token=True)
    # The first block of the second stage: its qkv is six times as wide as it is deep, or three.
    qkv = tensors.get(f"blocks.{config.depths[0]}.attn.qkv.weight")
    if qkv is not None and qkv.ndim == 2:
        config = replace(config, expand_in_attention=qkv.shape[0] != 3 * qkv.shape[1])
    return config


def _stored_size(
    tensors: Mapping[str, Tensor], config: Config, prefix: str = ""
) -> tuple[int, ...] | None:
    """The input size that the position tables are for; None where they do not agree on one."""
    size = []
    for axis, patch in zip(config.axes, PATCH_STRIDE[-len(config.axes) :], strict=True):
        table = tensors.get(_table(0, axis, prefix))
        if table is None or table.ndim != 2 or not table.shape[0] % 2:
            return None
        grid = (table.shape[0] + 1) // 2
        if grid > MAX_GRID or (axis != "t" and grid < MIN_SIDE // patch):
            return None
        size.append(grid * patch)
    for index, plan in enumerate(plan_blocks(replace(config, table_size=tuple(size)))):
        for axis, length in zip(plan.axes, plan.table_lengths, strict=True):
            table = tensors.get(_table(index, axis, prefix))
            if table is not None and (table.ndim != 2 or table.shape[0] != length):
                return None
    return tuple(size)


def _table(block: int, axis: str, prefix: str = "") -> str:
    return f"{prefix}blocks.{block}.attn.rel_pos_{axis}"


def _resized(tensors: Mapping[str, Tensor], config: Config, source: Config) -> Mapping[str, Tensor]:
    """The tables of `source` at its stored size, interpolated linearly to the ones of `config`.

    This is timm's rule at load, and SlowFast's where a picture file starts a video network. Tables
    that do not agree on a size stay as they are, and strict loading names them.
    """
    if _stored_size(tensors, source) is None:
        return tensors
    ready = dict(tensors)
    for index, plan in enumerate(plan_blocks(config)):
        lengths = dict(zip(plan.axes, plan.table_lengths, strict=True))
        for axis in source.axes:
            table, length = tensors.get(_table(index, axis)), lengths[axis]
            if table is not None and table.is_floating_point() and len(table) != length:
                ready[_table(index, axis)] = resize_table(table.float(), length)
    return ready


def _inflated(
    tensors: Mapping[str, Tensor], card: ModelCard, config: Config, how: str
) -> Adapted[Config]:
    """A picture file's tensors for a clip; its head is left out, as its classes are others."""
    stride = IMAGE[card.variant].kv_stride
    picture = replace(config, input_size=config.input_size[1:], kv_stride=stride)
    ready = {
        key: inflate(value, how) if is_kernel(key) else value
        for key, value in _resized(tensors, config, picture).items()
        if not key.startswith("head.")
    }
    for index, plan in enumerate(plan_blocks(config)):
        # At the start all frames are alike: a distance in time says nothing yet.
        rows, dim = plan.table_lengths[0], plan.width // plan.heads
        ready[f"blocks.{index}.attn.rel_pos_t"] = torch.zeros(rows, dim)
    untrained = ("head.",) if "cls_token" in ready else ("cls_token", "head.")
    return Adapted(config, ready, untrained)


def inflate(kernel: Tensor, how: str) -> Tensor:
    """A kernel [C', C, h, w] as [C', C, 3, h, w], by one of `INFLATIONS`."""
    if kernel.ndim != 4:
        return kernel
    frames = PATCH_KERNEL[0]
    repeated = kernel[:, :, None].repeat(1, 1, frames, 1, 1)
    match how:
        case "repeat":
            return repeated
        case "mean":
            return repeated / frames
        case _:
            only_center = torch.zeros_like(repeated)
            only_center[:, :, frames // 2] = kernel
            return only_center


def _pyramid(tensors: Mapping[str, Tensor], config: Config) -> Adapted[Config]:
    """A detector's file, or a classifier's that starts the backbone. Tables stay as stored: the
    network stretches them where a map asks for more rows, as detectron2 does.
    """
    if any(key.startswith("bottom_up.") for key in tensors):
        kept = {k: v for k, v in tensors.items() if not k.startswith(DETECTOR_HEADS)}
        untrained: tuple[str, ...] = ()
    else:
        kept = {
            f"bottom_up.{key}": value
            for key, value in tensors.items()
            if not key.startswith(CLASSIFIER_PARTS)
        }
        untrained = ("bottom_up.scale", "fpn_")
    stored = _stored_size(kept, config, "bottom_up.")
    return Adapted(replace(config, table_size=stored or config.table_size), kept, untrained)


def recognize(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The model whose checkpoint has these shapes, or None, by width, depth and the patches'
    kernel.
    """
    names = official_names(shapes)
    ours = {names[key]: shape for key, shape in shapes.items()}
    is_pyramid = any(key.startswith("bottom_up.") for key in ours)
    if is_pyramid:
        ours = {key.removeprefix("bottom_up."): shape for key, shape in ours.items()}
    patch = ours.get(PATCH, ())
    if len(patch) not in (4, 5) or FIRST_POOL not in ours:
        return None
    depth = len({key.split(".")[1] for key in ours if key.startswith("blocks.")})
    suffix = "-fpn" if is_pyramid else "-video" if len(patch) == 5 and patch[2] > 1 else ""
    for card in CARDS:
        config = config_of(card)
        fits = config.dim == patch[0] and sum(config.depths) == depth
        if fits and card.name == f"mvitv2-{card.variant}{suffix}":
            return card.name
    return None
