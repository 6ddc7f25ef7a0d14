"""UperNet's heads against their definition restated as straight code over a state dict."""

import pytest
import torch
import torch.nn.functional as F

from edgevit.difference import difference
from edgevit.networks.vit_adapter.upernet import FCNHead, UPerHead, initialize_head


def batch_norm(s, key, x):
    weight, bias, mean, var = (
        s[f"{key}.{part}"][:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def conv(s, key, x, **geometry):
    return F.conv2d(x, s[f"{key}.weight"], s.get(f"{key}.bias"), **geometry)


def conv_module(s, key, x):
    x = conv(s, f"{key}.conv", x, padding=s[f"{key}.conv.weight"].shape[-1] // 2)
    return batch_norm(s, f"{key}.bn", x).clamp(min=0)


def up(x, like):
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)


def uper_head(s, maps):
    c4 = maps[3]
    pooled = [
        up(conv_module(s, f"psp_modules.{i}.1", F.adaptive_avg_pool2d(c4, scale)), c4)
        for i, scale in enumerate((1, 2, 3, 6))
    ]
    p4 = conv_module(s, "bottleneck", torch.cat([c4, *pooled], 1))
    p3 = conv_module(s, "lateral_convs.2", maps[2]) + up(p4, maps[2])
    p2 = conv_module(s, "lateral_convs.1", maps[1]) + up(p3, maps[1])
    p1 = conv_module(s, "lateral_convs.0", maps[0]) + up(p2, maps[0])
    fused = [conv_module(s, f"fpn_convs.{i}", p) for i, p in enumerate((p1, p2, p3))]
    fused = torch.cat([up(m, p1) for m in (*fused, p4)], 1)
    return conv(s, "conv_seg", conv_module(s, "fpn_bottleneck", fused))


def pyramid(size, widths, seed=3):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(1, c, size[0] >> i, size[1] >> i) for i, c in enumerate(widths)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("size", [(16, 24), (48, 56), (8, 8), (96, 48)])
def test_restated_head(size, filled):
    widths = (5, 6, 7, 8)
    head = filled(UPerHead(widths, 12, 7)).eval().double()
    maps = pyramid(size, widths)
    with torch.no_grad():
        got = head(*maps)
        want = uper_head(dict(head.state_dict()), maps)
    assert got.shape == (1, 7, *size)
    assert want.std() > 0.1
    assert difference(got.numpy(), want.numpy()) < 1e-10


def test_restated_auxiliary_head(filled):
    head = filled(FCNHead(6, 5, 7)).eval().double()
    (x,) = pyramid((9, 11), (6,))
    with torch.no_grad():
        s = dict(head.state_dict())
        want = conv(s, "conv_seg", conv_module(s, "convs.0", x))
        assert difference(head(x).numpy(), want.numpy()) < 1e-10


def test_heads_start_as_mmsegs():
    torch.manual_seed(0)
    for head in (UPerHead((32,) * 4, 64, 50), FCNHead(32, 64, 50)):
        initialize_head(head)
        assert abs(float(head.conv_seg.weight.detach().std()) - 0.01) < 1e-3
        assert not head.conv_seg.bias.any()
        for module in head.modules():
            if isinstance(module, torch.nn.Conv2d) and module is not head.conv_seg:
                kernel = module.kernel_size[0] * module.kernel_size[1]
                wanted = (2 / (kernel * module.out_channels)) ** 0.5
                assert abs(float(module.weight.detach().std()) / wanted - 1) < 0.1
