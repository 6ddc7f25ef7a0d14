"""Spellings: a proof that names what it does not hold for, and programs that keep their borders."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit_export.capture import capture
from edgevit_export.errors import LoweringFailed
from edgevit_export.quantization.graph import quantize
from edgevit_export.quantization.styles import STYLES
from edgevit_export.scheme import Scheme
from edgevit_export.spellings.proof import difference, outputs_in_float64
from edgevit_export.spellings.spelling import Spelling, spell
from edgevit_export.spellings.xnnpack import XNNPACK

ATEN = torch.ops.aten
X = (torch.zeros(1, 4, 8),)


class Gelu(nn.Module):
    """Its last operation is an output, twice."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.gelu(self.layer(x).tanh())
        return x, x.relu(), x


def tanh(x: Tensor) -> Tensor:
    """tanh x = 2 sigmoid(2 x) - 1."""
    return 2.0 * torch.sigmoid(2.0 * x) - 1.0


def rough_gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """Not a GELU."""
    return x * torch.sigmoid(1.702 * x)


def nothing(x: Tensor) -> Tensor:
    """relu x = x."""
    return x


GOOD = Spelling((ATEN.tanh.default,), tanh, "for the test")
BAD = Spelling((ATEN.gelu.default,), rough_gelu, "for the test")
WORSE = Spelling((ATEN.relu.default,), nothing, "for the test")
OTHER = Spelling((ATEN.sin.default,), tanh, "for the test")


def program():
    torch.manual_seed(0)
    return capture(Gelu().eval(), X)


def test_a_program_without_the_operations_is_the_same_one():
    given = program()
    assert spell(given, (OTHER,)) is given


def test_the_given_program_stays_as_it_was():
    given = program()
    before = str(given.graph)
    spell(given, (GOOD,))
    assert str(given.graph) == before


@pytest.mark.parametrize(
    ("table", "culprit"),
    [((GOOD, BAD), "rough-gelu"), ((GOOD, BAD, WORSE), "rough-gelu"), ((WORSE, GOOD), "nothing")],
)
def test_a_spelling_that_changes_an_output_is_named(table, culprit):
    with pytest.raises(LoweringFailed, match=f"spelling {culprit} changed the network's output by"):
        spell(program(), table)


def test_values_that_are_no_numbers_are_no_proof():
    nan = Spelling((ATEN.tanh.default,), lambda x: x * torch.nan, "for the test")
    with pytest.raises(LoweringFailed, match="by nan"):
        spell(program(), (nan,))


def test_an_operation_that_is_an_output_is_written_too():
    given = capture(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)).eval(), X)
    written = spell(given, XNNPACK)
    x = torch.randn(X[0].shape)
    torch.testing.assert_close(written.module()(x), given.module()(x))


def test_what_is_written_says_where_it_comes_from():
    written = spell(capture(nn.Sequential(nn.LayerNorm(8)).eval(), X), XNNPACK)
    stacks = [n.meta["nn_module_stack"] for n in written.graph.nodes if n.op == "call_function"]
    assert {path for stack in stacks for path, _ in list(stack.values())[-1:]} == {"0"}


class Constants(nn.Module):
    """A buffer that no state dict has, and a constant made on the way."""

    def __init__(self):
        super().__init__()
        self.register_buffer("hidden", torch.full((8,), 0.1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x + self.hidden + torch.arange(8, dtype=torch.float32), (8,))
        return x.to(torch.float32) + torch.tensor(0.3)


def test_constants_of_every_kind_are_in_the_proof():
    given = capture(Constants().eval(), X)
    assert spell(given, XNNPACK) is not given
    (out,) = outputs_in_float64(given, given.graph_module)
    assert out.dtype == torch.float64


class Writes(nn.Module):
    """Writes into views of what it computes."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + 1
        x.transpose(1, 2).select(1, 0).mul_(2)
        first, _ = x.chunk(2, dim=1)
        first += 3
        return F.layer_norm(x.relu_(), (8,))


def test_writes_into_views_are_kept():
    given, x = capture(Writes().eval(), X), torch.randn(X[0].shape)
    written = spell(given, XNNPACK)
    torch.testing.assert_close(written.module()(x), Writes()(x))


def test_a_copy_may_have_other_names():
    class Builtins(nn.Module):
        def forward(self, input: Tensor, input_1: Tensor) -> Tensor:  # noqa: A002
            return F.layer_norm(input, (8,)) - input_1

    xs = (torch.randn(1, 4, 8), torch.randn(1, 4, 8))
    given = capture(Builtins().eval(), xs)
    torch.testing.assert_close(spell(given, XNNPACK).module()(*xs), given.module()(*xs))


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(8), nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.layer(self.norm(x)).chunk(3, dim=-1)
        return F.scaled_dot_product_attention(q, k, v)


def test_integers_are_proven_without_their_rounding():
    """A rounding that falls on the other side would be a difference of a whole step."""
    torch.manual_seed(0)
    model = Blocks().eval()
    graph = quantize(model, X, Scheme("w8a8"), STYLES["executorch"], [(torch.randn(1, 4, 8),)])
    given, plain = capture(graph, X), capture(model, X)
    written = spell(given, XNNPACK)
    assert written is not given
    values = [outputs_in_float64(p, p.graph_module) for p in (written, given, plain)]
    assert difference(values[0], values[1]) < 1e-12
    assert 0 < difference(values[1], values[2]) < 0.05  # weights are what their integers say
