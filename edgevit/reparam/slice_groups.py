"""TopFormer's token groups as slices, which a delegate takes where it takes no uneven split."""

from torch import Tensor, nn

from edgevit.models.topformer import TokenGroups


class SlicedGroups(nn.Module):
    """The tokens' channels back to the four scales, a slice each."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.bounds = [sum(channels[:index]) for index in range(len(channels) + 1)]

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """[B, sum C_i, h, w] -> four [B, C_i, h, w]."""
        pairs = zip(self.bounds, self.bounds[1:], strict=False)
        return tuple(tokens[:, start:end] for start, end in pairs)


def slice_token_groups(model: nn.Module) -> nn.Module:
    """Cut each scale's channels with a slice of its own: split(x)_i = x[:, start_i : end_i].

    XNNPACK takes slices of stride one and no uneven split, so its graph stays in one piece.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, TokenGroups):
            model.set_submodule(name, SlicedGroups(module.channels))
    return model
