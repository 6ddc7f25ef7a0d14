"""UperNet's segmentation head and the auxiliary head beside it, with mmseg's key names.

Source: Xiao et al., "Unified Perceptual Parsing for Scene Understanding" (ECCV 2018); mmseg
decode_heads/{uper_head,psp_head,fcn_head}.py.
"""

from torch import Tensor, nn

from edgevit.networks.parts.layers import ConvModule, Resize, cat, size_of

POOL_SCALES = (1, 2, 3, 6)


class ConvModule3x3(ConvModule):
    """mmcv's ConvModule with a 3x3 kernel, norm and ReLU: the same children."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, act="relu")
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


class UPerHead(nn.Module):
    """Pooled pyramid on the coarsest map, a feature pyramid down from it, all fused at the finest.

    `inputs` are the channels of the maps, finest first.
    """

    def __init__(self, inputs: tuple[int, ...], channels: int, num_classes: int) -> None:
        super().__init__()
        *fine, coarsest = inputs
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvModule(coarsest, channels, act="relu"))
            for scale in POOL_SCALES
        )
        self.bottleneck = ConvModule3x3(coarsest + len(POOL_SCALES) * channels, channels)
        self.lateral_convs = nn.ModuleList(ConvModule(c, channels, act="relu") for c in fine)
        self.fpn_convs = nn.ModuleList(ConvModule3x3(channels, channels) for _ in fine)
        self.fpn_bottleneck = ConvModule3x3(len(inputs) * channels, channels)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        self.resize = Resize()

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps [B, C_i, H_i, W_i], finest first -> logits [B, classes, H_0, W_0]."""
        *fine, coarsest = maps
        pooled = [self.resize(module(coarsest), size_of(coarsest)) for module in self.psp_modules]
        levels = [lateral(x) for lateral, x in zip(self.lateral_convs, fine, strict=True)]
        levels.append(self.bottleneck(cat([coarsest, *pooled])))
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + self.resize(levels[i], size_of(levels[i - 1]))
        outputs = [conv(x) for conv, x in zip(self.fpn_convs, levels, strict=False)]
        outputs.append(levels[-1])  # the bottleneck is the coarsest level's 3x3
        finest = size_of(outputs[0])
        fused = cat([outputs[0], *(self.resize(x, finest) for x in outputs[1:])])
        logits: Tensor = self.conv_seg(self.fpn_bottleneck(fused))
        return logits


class FCNHead(nn.Module):
    """The auxiliary head: one 3x3 and the classifier on one map; training looks at it, nobody else
    does.
    """

    def __init__(self, inputs: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([ConvModule3x3(inputs, channels)])
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, classes, H, W]."""
        for conv in self.convs:
            x = conv(x)
        logits: Tensor = self.conv_seg(x)
        return logits


def initialize_head(head: UPerHead | FCNHead) -> None:
    """How mmseg starts a head: He over the fan-out, the classifier at 0.01."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    nn.init.normal_(head.conv_seg.weight, std=0.01)
    if head.conv_seg.bias is not None:
        nn.init.zeros_(head.conv_seg.bias)
