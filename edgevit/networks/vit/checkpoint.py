"""ViT's checkpoints: timm's and DeiT's names, Google's .npz, MAE's, and transformers'.

timm, DeiT and MAE share their key names, so DeiT's and MAE's files are told by the `{'model': ...}`
that they lie in, by a distillation token, or by what only MAE has; they differ in how a position
table is resized. Sources: timm/models/vision_transformer.py, `checkpoint_filter_fn`; DeiT main.py;
MAE models_vit.py and main_finetune.py.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, cast

from torch import Tensor

from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.adapted import Adapted
from edgevit.networks.card import ModelCard
from edgevit.networks.vit import checkpoint_google as vit_google
from edgevit.networks.vit import checkpoint_huggingface as vit_huggingface
from edgevit.networks.vit.network import CONFIGS, Config
from edgevit.networks.vit.positions import RULES, Grid, Rule, resize_table

Layout = Literal["timm", "deit", "google", "huggingface"]

# timm's order; DeiT's own training saves `model` and `model_ema`, and evaluates `model`.
PREFER = ("state_dict_ema", "state_dict", "model")
OPTIONS = ("eps", "positions", "table")
MOST_EPS = 1e-2
HEAD = ("head",)  # the prefix of `head.weight` and `head.bias`

# Of what shapes may tell: a few bytes must not make us build a network of gigabytes.
MAX_CLASSES, MAX_WIDTH = 65_536, 8192


def configure(
    card: ModelCard,
    input_size: tuple[int, ...],
    num_classes: int | None,
    options: Mapping[str, object],
) -> Config:
    """The card's configuration for a size in px, with the caller's classes and options.

    Options: `eps` of every LayerNorm; `positions`, the source whose rule resizes the position
    table; `table`, the rows and columns that the file's table stands for, as "14x28". Raises
    `UsageError` on others, and on a side that patches do not fill.
    """
    config = CONFIGS[card.variant]
    if len(input_size) != 2 or any(side < 1 or side % config.patch for side in input_size):
        fits = [max(1, round(side / config.patch)) * config.patch for side in input_size[:2]]
        raise UsageError(
            f"{card.name} cuts its input into {config.patch} px patches, and"
            f" {'x'.join(map(str, input_size))} is not a whole number of them.",
            next=f"--input-size {fits[0]} {fits[-1]}" if fits else f"edgevit info {card.name}",
        )
    eps = _options(card, options)
    return replace(
        config,
        input_size=(input_size[0], input_size[1]),
        num_classes=num_classes or card.num_classes or config.num_classes,
        eps=config.eps if eps is None else eps,
    )


def _options(card: ModelCard, options: Mapping[str, object]) -> float | None:
    """The option `eps`; raises `UsageError` on an unknown option or value."""
    for name, value in options.items():
        if name not in OPTIONS:
            raise UsageError(
                f"ViT has no option {name!r}; it has {', '.join(OPTIONS)}.",
                next=f"edgevit info {card.name}",
            )
        if name == "positions" and value not in RULES:
            raise UsageError(f"positions={value!r} is not one of {', '.join(RULES)}.")
    stored_grid(options)
    if "eps" not in options:
        return None
    try:
        eps = float(str(options["eps"]))
    except ValueError:
        eps = 0.0
    if not 0 < eps <= MOST_EPS:
        raise UsageError(f"eps={options['eps']!r} is no number above 0 and up to {MOST_EPS}.")
    return eps


def stored_grid(options: Mapping[str, object]) -> Grid | None:
    """The option `table` as rows and columns; raises `UsageError`."""
    if "table" not in options:
        return None
    found = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", str(options["table"]), re.ASCII)
    if found is None:
        raise UsageError(
            f"table={options['table']!r} is not a grid of patches such as 14x28 (rows x columns)."
        )
    return int(found[1]), int(found[2])


def layout_of(tensors: Mapping[str, object], container: str = "") -> Layout:
    """Whose file has these keys; container: where they lay in it, as `Checkpoint.container`."""
    if vit_google.root_of(tensors) is not None:
        return "google"
    if vit_huggingface.is_huggingface(tensors):
        return "huggingface"
    mae = "mask_token" in tensors or ("fc_norm.weight" in tensors and "cls_token" in tensors)
    if mae or "dist_token" in tensors or container.partition(".")[0] == "model":
        return "deit"
    return "timm"


def adapt(
    tensors: Mapping[str, Tensor],
    card: ModelCard,
    config: Config,
    options: Mapping[str, object],
    *,
    container: str = "",
) -> Adapted[Config]:
    """Bring a state dict to the network; what its keys and shapes tell overrides the card's.

    Classes, the tokens, mean pooling with MAE's own norm, a second classifier, a tanh layer, and in
    Google's files the heads are read off. A file without a classifier leaves `head` untrained.
    Raises `CheckpointError` on shapes that cannot be a ViT's.
    """
    layout = layout_of(tensors, container)
    rule: Rule = "google" if layout == "google" else "timm" if layout == "timm" else "deit"
    if layout == "google":
        renamed = vit_google.rename(tensors)
        found = renamed.tensors
        config = replace(config, heads=_heads(renamed.heads, config))
    elif layout == "huggingface":
        found = vit_huggingface.rename(tensors)
        config = config if "eps" in options else replace(config, eps=vit_huggingface.EPS)
    else:
        found = _without_decoder(tensors)
    stored = stored_grid(options)
    config = _infer(found, config, stored)
    if "pos_embed" in found:
        found["pos_embed"] = resize_table(
            found["pos_embed"],
            config.prefix,
            config.grid,
            cast("Rule", options.get("positions", rule)),
            stored,
        )
    headless = not any(key.startswith("head") for key in found)
    return Adapted(config, found, HEAD if headless else (), _preparation(tensors, layout))


def _preparation(tensors: Mapping[str, Tensor], layout: Layout) -> str | None:
    """How the source prepares its pictures, where it is not the card's: DeiT's, MAE's,
    transformers' own.
    """
    masked = any(key.endswith("mask_token") for key in tensors)
    if masked or (layout == "deit" and "fc_norm.weight" in tensors):
        return "mae"
    if layout == "deit" or any(key.startswith("deit.") for key in tensors):
        return "deit"
    return "huggingface" if layout == "huggingface" else None


def _without_decoder(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MAE's pre-training files without the decoder, which only paints masked patches."""
    dropped = ("mask_token", "decoder_") if "mask_token" in tensors else ()
    return {
        key: value for key, value in tensors.items() if not (dropped and key.startswith(dropped))
    }


def _infer(tensors: Mapping[str, Tensor], config: Config, stored: Grid | None) -> Config:
    own_norm = "fc_norm.weight" in tensors and "norm.weight" not in tensors
    cls_token = "cls_token" in tensors or not _patches_alone(tensors, stored or config.grid)
    dist_head = any(key.startswith("head_dist.") for key in tensors)
    config = replace(
        config,
        cls_token=cls_token,
        dist_token="dist_token" in tensors or dist_head,
        dist_head=dist_head,
        pool="mean" if own_norm or not cls_token else "token",
        norm_after_pool=own_norm,
        representation=_outputs(tensors, "pre_logits.fc.weight", MAX_WIDTH),
    )
    classes = _outputs(tensors, "head.weight", MAX_CLASSES)
    return replace(config, num_classes=classes) if classes else config


def _patches_alone(tensors: Mapping[str, Tensor], grid: Grid) -> bool:
    """Whether the position table has rows for patches only: a network without a class token.

    Otherwise a missing `cls_token` is a fault of the file.
    """
    table = tensors.get("pos_embed")
    if table is None or table.ndim != 3:
        return False
    rows = table.shape[1]
    return math.isqrt(rows) ** 2 == rows or rows == math.prod(grid)


def _outputs(tensors: Mapping[str, Tensor], key: str, most: int) -> int | None:
    """Outputs of a linear layer; None where there is none.

    Raises `CheckpointError` on a count that would cost more to build than a file can mean.
    """
    tensor = tensors.get(key)
    if tensor is None or tensor.ndim != 2:
        return None
    if not 1 <= tensor.shape[0] <= most:
        raise CheckpointError(
            f"The checkpoint's {key} has {tensor.shape[0]} outputs; no ViT has that.",
            next="edgevit list",
        )
    return tensor.shape[0]


def _heads(found: frozenset[int], config: Config) -> int:
    if not found:
        return config.heads
    heads = max(found)
    if len(found) > 1 or heads < 1 or config.dim % heads:
        counts = " and ".join(map(str, sorted(found)[:5]))
        raise CheckpointError(
            f"The checkpoint's attention has {counts} heads, which does not fit a network"
            f" of {config.dim} channels.",
            next="edgevit list",
        )
    return heads


_PATCH_KERNELS = (
    # key, and where its shape has the width and the patch
    ("patch_embed.proj.weight", 0, 2),
    *((f"{root}{vit_huggingface.KERNEL}", 0, 2) for root in ("", *vit_huggingface.ROOTS)),
    *((f"{root}{vit_google.KERNEL}", 3, 0) for root in ("", *vit_google.ROOTS)),
)
_BLOCKS = re.compile(
    r"(?:blocks\.|(?:vit\.|deit\.)?(?:encoder\.layer|layers)\."
    r"|(?:opt/target/|params/)?Transformer/encoderblock_)(\d+)[./].+"
)
_TABLES = ("pos_embed", "embeddings.position_embeddings", vit_google.TABLE)


def recognize(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The model whose checkpoint has these shapes, or None, by width, patch and depth."""
    if not any(key.endswith(_TABLES) for key in shapes):
        return None
    depth = len({found[1] for found in map(_BLOCKS.fullmatch, shapes) if found})
    for key, width, patch in _PATCH_KERNELS:
        shape = shapes.get(key, ())
        if len(shape) != 4:
            continue
        for variant, config in CONFIGS.items():
            if (shape[width], shape[patch], depth) == (config.dim, config.patch, config.depth):
                return f"vit-{variant}"
    return None
