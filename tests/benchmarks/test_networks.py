import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import networks
from benchmarks.networks import PLAIN, ROWS, SMALL, Row, network_of, peer_network, peer_of
from edgevit.networks.create import create_model
from edgevit.networks.zoo import model_card

STUB = """
from torch import nn

def create_model(name, width):
    model = nn.Module()
    model.stages = nn.ModuleList([nn.Module()])
    model.stages[0].blocks = nn.ModuleList([nn.Module()])
    model.stages[0].blocks[0].shortcut_proj_attn = nn.Linear(width, width)
    return model
"""


class Ours(torch.nn.Module):
    """A network with the one tensor pair that the stub of timm has, under our names."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList([torch.nn.Module()])
        self.blocks[0].proj = torch.nn.Linear(2, 2)


@pytest.fixture
def peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that holds a stub of timm."""
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text(STUB)
    (tmp_path / "timm-9.9.dist-info").mkdir()
    (tmp_path / "timm-9.9.dist-info" / "METADATA").write_text("Name: timm\nVersion: 9.9\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    yield tmp_path
    sys.modules.pop("timm", None)
    networks._prepare_timm.cache_clear()


@pytest.mark.parametrize("row", [*ROWS, *SMALL], ids=lambda row: row.key)
def test_every_row_is_a_network_at_a_size_it_takes(row: Row) -> None:
    with torch.device("meta"):
        network = create_model(row.model, input_size=row.size)
    assert network.input_shape == (1, 3, *row.size)
    pictures = model_card(row.model).architecture == "vit" or row.model in ("mvitv2-t",)
    assert (row.timm is not None) == pictures
    faster = row in ROWS and model_card(row.model).architecture == "vit"
    assert row.at_least("executorch") == (1.4 if faster else 0.97)
    assert row.at_least("onnx") == row.at_least("litert") == 0.97


def test_rows_have_names_of_their_own_and_every_system_is_there() -> None:
    keys = [row.key for row in (*ROWS, *SMALL)]
    assert len(set(keys)) == len(keys)
    assert {model_card(row.model).architecture for row in ROWS} == {
        "vit", "vitpose", "t2t_vit", "mvitv2", "vit_adapter",
    }  # fmt: skip


def test_a_network_has_the_same_weights_every_time_and_answers_of_order_one() -> None:
    row = next(row for row in SMALL if row.model == "t2t-vit-micro")
    first = network_of(row)
    torch.rand(1)
    second = network_of(row).state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.state_dict().items())
    token = first.tokens_to_token
    with torch.no_grad():
        patches = token.soft_split0(torch.randn(first.input_shape))
        keys, _, _ = token.attention1.thirds(token.attention1.kqv(token.attention1.norm1(patches)))
        features = token.attention1.attend.kernel(keys, token.attention1.w)
    assert float(features.sum(dim=1).min()) > 1e-3  # far above the 1e-8 in the denominator


def test_without_timm_the_peer_is_our_plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "timm_version", lambda peers: None)
    network = Ours()
    assert peer_of(ROWS[0], None) == PLAIN
    assert peer_network(ROWS[0], network, None) is network


def test_timms_network_gets_our_weights_by_the_layouts_names(peers: Path) -> None:
    row = Row("mvitv2-t", (224, 224), "mvitv2_tiny", {"width": 2})
    network = Ours()
    assert peer_of(row, peers) == "timm 9.9"
    assert peer_of(Row("vitpose-s", (256, 192)), peers) == PLAIN
    peer = peer_network(row, network, peers)
    got = peer.state_dict()["stages.0.blocks.0.shortcut_proj_attn.weight"]
    assert torch.equal(got, network.blocks[0].proj.weight)
    assert not peer.training
    with pytest.raises(RuntimeError, match="size mismatch"):
        peer_network(Row("mvitv2-t", (224, 224), "mvitv2_tiny", {"width": 3}), network, peers)
