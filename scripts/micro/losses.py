"""What the micro networks are trained to lower, by task."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.data.scenes import CLASSES
from edgevit.tasks.pose.heatmaps import SIGMA
from scripts.micro.pools import Batch
from scripts.micro.recipes import Recipe

DETAIL = 4  # px of the picture to one of a mask that tokens draw
AUXILIARY = 0.4  # weight of UperNet's second head (mmseg's configs)
HEATMAP_SCALE = 1000.0  # a mean squared error of heatmaps is tiny; gradients are clipped by size


class DenseHead(nn.Module):
    """Draws the mask of its patch from each token alone, at a quarter of the picture's size (after
    "All Tokens Matter: Token Labeling", Jiang et al., NeurIPS 2021, with the drawn mask for the
    teacher). It teaches a small transformer where things are; it does not ship.

    `maps`: the channels and the stride in px of every map or list of tokens that it reads.
    """

    def __init__(self, maps: Mapping[str, tuple[int, int]]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {
                name: nn.Linear(width, len(CLASSES) * (stride // DETAIL) ** 2)
                for name, (width, stride) in maps.items()
            }
        )

    def forward(self, outputs: dict[str, Tensor], masks: Tensor) -> Tensor:
        """Soft cross-entropy with masks [B, H / 2, W / 2], the mean over all maps."""
        shares = F.one_hot(masks, len(CLASSES)).movedim(-1, 1).float()
        losses = []
        for name, head in self.heads.items():
            tokens, (rows, columns) = as_tokens(outputs[name])
            drawn = head(tokens.float())
            side = round((drawn.shape[-1] // len(CLASSES)) ** 0.5)
            drawn = drawn.reshape(-1, rows, columns, side, side, len(CLASSES))
            drawn = drawn.permute(0, 5, 1, 3, 2, 4).reshape(
                -1, len(CLASSES), rows * side, columns * side
            )
            target = F.adaptive_avg_pool2d(shares, (rows * side, columns * side))
            losses.append(-(target * drawn.log_softmax(dim=1)).sum(dim=1).mean())
        return torch.stack(losses).mean()


def as_tokens(x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """A map [B, C, h, w], or tokens [B, (1 +) n * n, C], as [B, n, C] and their grid."""
    if x.ndim == 4:
        return x.flatten(2).transpose(1, 2), (x.shape[2], x.shape[3])
    side = int(x.shape[1] ** 0.5)
    return x[:, x.shape[1] - side * side :], (side, side)


def loss_of(outputs: dict[str, Tensor], batch: Batch, recipe: Recipe) -> Tensor:
    """The loss of a task's own outputs, a scalar."""
    match recipe.task:
        case "segmentation":
            assert batch.masks is not None
            main = _dense_cross_entropy(outputs["logits"], batch.masks)
            return main + AUXILIARY * _dense_cross_entropy(outputs["aux"], batch.masks)
        case "pose":
            assert batch.points is not None
            return HEATMAP_SCALE * heatmap_loss(outputs["heatmaps"].float(), batch.points)
        case _:
            logits = outputs["logits"].float()
            return F.cross_entropy(logits, batch.labels, label_smoothing=recipe.smoothing)


def _dense_cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    size = (masks.shape[-2], masks.shape[-1])
    return F.cross_entropy(F.interpolate(logits.float(), size, mode="bilinear"), masks)


def gaussians(points: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, K, h, w]: an unbiased Gaussian of sigma 2 px and height 1 around each point of
    [B, K, 2 or 3] (UDP: centered between pixels, not on the nearest).
    """
    along = []
    for axis, length in ((1, size[0]), (0, size[1])):
        offset = torch.arange(length) - points[..., axis, None]
        along.append(torch.exp(-(offset**2) / (2 * SIGMA**2)))
    return along[0].unsqueeze(-1) * along[1].unsqueeze(-2)


def heatmap_loss(heatmaps: Tensor, points: Tensor) -> Tensor:
    """Mean squared error of the keypoints that are in the picture (mmpose, JointsMSELoss)."""
    target = gaussians(points, (heatmaps.shape[-2], heatmaps.shape[-1]))
    weight = (points[..., 2] > 0).float()
    error = (heatmaps - target).square().mean(dim=(-2, -1))
    return (error * weight).sum() / weight.sum().clamp(min=1)
