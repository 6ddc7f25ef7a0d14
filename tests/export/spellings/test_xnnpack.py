"""XNNPACK's table: every row on an operation of its own, and all of them on a network that nobody
here has seen.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit_export.capture import capture
from edgevit_export.formats import FORMATS, reader
from edgevit_export.lower import lower
from edgevit_export.names import Names
from edgevit_export.scheme import Scheme
from edgevit_export.spellings.spelling import spell
from edgevit_export.spellings.views import VIEWS
from edgevit_export.spellings.xnnpack import XNNPACK
from edgevit_runtimes.engines import open_session


class Function(nn.Module):
    """A function as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.function(*inputs)


def attend(q, k, v, **options):
    return F.scaled_dot_product_attention(q, k, v, **options)


HEADS, MASK = (2, 3, 5, 4), torch.linspace(-1, 1, 25).reshape(5, 5)

# name of the row, what is computed, shapes of its inputs
WRITTEN = [
    ("layer-norm", lambda x: F.layer_norm(x, (7,), eps=1e-3), [(2, 5, 7)]),
    ("layer-norm", lambda x, w, b: F.layer_norm(x, (7,), w, b), [(3, 7), (7,), (7,)]),
    ("layer-norm", lambda x, w: F.layer_norm(x, (5, 7), w), [(2, 5, 7), (5, 7)]),
    ("attention", attend, [HEADS] * 3),
    ("attention", lambda q, k, v: attend(q, k, v, scale=1.0), [(5, 4), (6, 4), (6, 3)]),
    ("attention", lambda q, k, v: attend(q, k, v, attn_mask=MASK), [HEADS] * 3),
    ("product", torch.matmul, [(2, 3, 5, 4), (2, 3, 4, 6)]),
    ("product", torch.matmul, [(2, 5, 4), (2, 4, 6)]),
    ("chunks", lambda x: x.chunk(3, dim=-1), [(2, 5, 8)]),
    ("chunks", lambda x: x.chunk(4)[1:], [(6, 5)]),
    ("parts", lambda x: x.split(4, dim=1), [(2, 10)]),
    ("parts", lambda x: x.split([1, 6, 3], dim=-1)[::2], [(2, 10)]),
    ("members", lambda x: x.unbind(1), [(2, 3, 5)]),
    ("member", lambda x: x[:, -1], [(2, 3, 5)]),
    ("member", lambda x: x[1], [(3,)]),
    ("total", lambda x: x.sum(dim=(1, -1), keepdim=True), [(2, 3, 5, 4)]),
    ("total", lambda x: x.sum(), [(2, 3)]),
    ("mean", lambda x: x.mean(dim=1), [(2, 3, 5)]),
    ("mean", lambda x: x.mean(dim=(0, -1), keepdim=True), [(2, 3, 5, 4)]),
    ("mean", lambda x: x.mean(dim=(2, 3)), [(2, 3, 5, 4)]),
    ("mean", lambda x: x.mean(), [(2, 3)]),
    ("softmax", lambda x: x.softmax(dim=1), [(2, 3, 5)]),
    ("softmax", lambda x: x.softmax(dim=0), [(2, 3)]),
    ("softmax", lambda x: x.softmax(dim=-1), [(2, 3, 5, 4)]),
    ("softmax", lambda x: x.softmax(dim=1), [(2, 3, 5, 4, 6)]),
    ("same", lambda x, y: x.expand(1, -1, 5) + y, [(1, 3, 5), (1, 3, 5)]),
    ("squeezed", lambda x: x.squeeze(), [(1, 3, 1, 5)]),
    ("squeezed", lambda x: x.squeeze(1), [(1, 3, 1, 5)]),
    ("squeezed", lambda x: x.squeeze((0, -2)), [(1, 3, 1, 5)]),
    ("unsqueezed", lambda x: x.unsqueeze(-2), [(2, 3)]),
]

# What the delegate takes as it is, and what only looks like a row's.
LEFT = [
    (lambda x: x.mean(dim=(-1, -2), keepdim=True), [(2, 3, 5, 4)]),
    (lambda x: x.softmax(dim=-1), [(2, 3)]),
    (lambda x: x.softmax(dim=-1), [(2, 3, 5)]),
    (lambda q, k, v: attend(q, k, v, is_causal=True), [HEADS] * 3),
    (lambda q, k, v: attend(q, k, v, attn_mask=MASK > 0), [HEADS] * 3),
    (lambda q, k, v: attend(q, k, v, enable_gqa=True), [HEADS, (2, 1, 5, 4), (2, 1, 5, 4)]),
    (torch.matmul, [(2, 3, 5, 4), (4, 6)]),
    (torch.matmul, [(2, 3, 5, 4), (3, 4, 6)]),
    (lambda x: (x > 0).sum(dim=1), [(2, 3)]),
    (lambda x: (x > 0)[:, 0], [(2, 3)]),
    (lambda x: x.expand(4, -1, -1), [(1, 3, 5)]),
]


def captured(function, shapes):
    generator = torch.Generator().manual_seed(1)
    inputs = tuple(torch.randn(shape, generator=generator) for shape in shapes)
    return capture(Function(function).eval(), inputs), inputs


def operations(program):
    return [node.target for node in program.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    ("name", "function", "shapes"), WRITTEN, ids=[f"{n}{i}" for i, (n, *_) in enumerate(WRITTEN)]
)
def test_a_row_computes_the_same_without_its_operations(name, function, shapes):
    program, inputs = captured(function, shapes)
    (row,) = [row for row in XNNPACK if row.name == name]
    assert set(operations(program)) & set(row.ops)
    written = spell(program, [row])
    assert not set(operations(written)) & (
        set(row.ops) - {torch.ops.aten.mean.dim, torch.ops.aten.softmax.int}
    )
    got, want = written.module()(*inputs), program.module()(*inputs)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)


def test_every_row_is_tried():
    assert {name for name, *_ in WRITTEN} == {row.name for row in XNNPACK}
    assert all(row.write.__doc__ and row.reason for row in XNNPACK)


@pytest.mark.parametrize(("function", "shapes"), LEFT)
def test_what_no_row_fits_stays_as_it_is(function, shapes):
    program, _ = captured(function, shapes)
    assert spell(program, XNNPACK) is program


class Mixer(nn.Module):
    """timm's attention: one projection, heads unbound from it, fused attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, dim))


class Layer(nn.Module):
    """timm's block with layer scales."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mixer = Mixer(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.gamma = nn.Parameter(torch.full((dim,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.gamma * self.mixer(self.norm1(x))
        return x + self.gamma * self.mlp(self.norm2(x))


class StrangeViT(nn.Module):
    """A vision transformer as timm writes it: scores of the class token, the mean of the others."""

    def __init__(self, dim: int = 32, heads: int = 2, depth: int = 1) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, dim, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, dim))
        self.positions = nn.Parameter(torch.randn(1, 17, dim))
        self.layers = nn.Sequential(*(Layer(dim, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1) + self.positions
        x = self.norm(self.layers(x))
        return self.head(x[:, 0]), x[:, 1:].mean(dim=1)


@pytest.mark.parametrize(
    ("precision", "least"),
    [("fp32", 100), ("w8a8", 20), pytest.param("w8dyn", 30, marks=pytest.mark.full)],
)
def test_a_strange_vision_transformer_is_one_subgraph(precision, least, tmp_path):
    torch.manual_seed(0)
    model = StrangeViT().eval()
    samples = [(torch.randn(1, 3, 32, 32),) for _ in range(4)]
    artifact = lower(
        model,
        samples[0],
        "executorch",
        Scheme(precision),
        tmp_path / "m.pte",
        Names(("image",), ("scores", "mean")),
        samples,
    )
    report = reader(FORMATS["executorch"]).read(artifact.path)
    assert report.delegated_subgraphs == 1
    assert report.left_out == ()
    (x,) = samples[1]
    with torch.no_grad(), open_session(artifact.path) as session:
        for got, want in zip(session.run(x.numpy()), model(x), strict=True):
            noise = (torch.from_numpy(got) - want).square().mean() / want.square().mean()
            assert -10 * math.log10(noise) > least  # dB


def unfused(q, k, v):
    """Attention as it was written before it was fused."""
    return ((q * 0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v


# what is computed, shapes of its inputs, views of the XNNPACK program
VIEWED = [
    (unfused, [HEADS] * 3, 4),  # q, k, v and the result
    (lambda q, k, v: v @ (q @ k).softmax(-1).transpose(-2, -1), [(1, 3, 5, 5)] * 3, 4),
    (lambda x, y: x.reshape(2, 3, 5, 4) @ y.reshape(2, 3, 4, 6), [(2, 3, 20), (6, 24)], 3),
    (lambda x, y: (x @ y).reshape(6, 5, 6), [(2, 3, 5, 4), (2, 3, 4, 6)], 2),
    (lambda x, y: (x @ y).flatten(2), [(2, 3, 5, 4), (2, 3, 4, 6)], 3),
    (lambda x, y: x.transpose(1, 2) @ y.transpose(1, 2), [(2, 5, 3, 4), (2, 4, 3, 6)], 3),
]


@pytest.mark.parametrize(("function", "shapes", "count"), VIEWED)
def test_views_of_views_are_one(function, shapes, count):
    program, inputs = captured(function, shapes)
    written = spell(program, XNNPACK)
    views = [target for target in operations(written) if target in VIEWS]
    assert len(views) == count
    torch.testing.assert_close(written.module()(*inputs), program.module()(*inputs))


# What a delegate that keeps convolutions in NHWC order could take from the wrong dimension.
BEHIND_A_CONVOLUTION = {
    "softmax": lambda x: tuple(x.softmax(dim) for dim in range(1, 4)),
    "softmax moved": lambda x: x.permute(0, 2, 3, 1).softmax(-1),
    "norm": lambda x: (F.layer_norm(x, x.shape[-1:]), F.layer_norm(x, x.shape[1:])),
    "mean": lambda x: tuple(x.mean(dim) for dim in range(1, 4)),
    "total": lambda x: tuple(x.sum(dim, keepdim=True) for dim in range(1, 4)),
    "parts": lambda x: tuple(part for dim in range(1, 4) for part in x.split(2, dim)),
    "members": lambda x: tuple(x.select(dim, 1) for dim in range(1, 4)),
    "product": lambda x: x @ x.transpose(2, 3),
    "attention": lambda x: attend(x, x, x),
    "unsqueezed": lambda x: tuple(x[0].unsqueeze(dim) for dim in range(4)),
    "squeezed": lambda x: x[:, :1].squeeze(),
}


class Behind(nn.Module):
    """Operations on what convolutions leave, each behind one of its own."""

    def __init__(self, functions):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1) for _ in functions])
        self.functions = functions

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        pairs = zip(self.functions, self.layers, strict=True)
        outs = [function(layer(x)) for function, layer in pairs]
        return tuple(y for out in outs for y in (out if isinstance(out, tuple) else (out,)))


def written_behind(names, folder):
    """What the file computes and what it must, of the functions of these names."""
    torch.manual_seed(0)
    model = Behind([BEHIND_A_CONVOLUTION[name] for name in names]).eval()
    x = torch.randn(1, 3, 6, 5)
    with torch.no_grad():
        wanted = model(x)
    outputs = tuple(f"y{number}" for number in range(len(wanted)))
    path = folder / "m.pte"
    lower(model, (x,), "executorch", Scheme("fp32"), path, Names(("x",), outputs))
    with open_session(path) as session:
        return [torch.from_numpy(got) for got in session.run(x.numpy())], list(wanted)


def test_a_file_computes_the_same_behind_convolutions(tmp_path):
    got, wanted = written_behind(BEHIND_A_CONVOLUTION, tmp_path)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.full  # the test above has them in one file
@pytest.mark.parametrize("name", BEHIND_A_CONVOLUTION)
def test_a_file_computes_the_same_behind_a_convolution(name, tmp_path):
    got, wanted = written_behind([name], tmp_path)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)
