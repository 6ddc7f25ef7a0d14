"""The fp32 network of a bundle, from its manifest."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgevit.bundle.manifest import Weights
from edgevit.errors import CheckpointError, UsageError
from edgevit.evaluation.reference import reference_network
from edgevit.networks.create import create_model
from edgevit.networks.seeded import fill_seeded
from edgevit.weights import demo_weights


def test_demo_weights_are_found_by_name_and_hash(segmenter):
    network, why = reference_network(segmenter.manifest)
    assert why == ""
    assert not network.training
    with torch.no_grad():
        out = network(torch.from_numpy(segmenter.golden("input"))).numpy()
    assert np.array_equal(out, segmenter.golden("logits"))


def test_a_mask_bundle_has_a_mask_network(segmenter):
    network, _ = reference_network(replace(segmenter.manifest, output="mask"))
    with torch.no_grad():
        out = network(torch.from_numpy(segmenter.golden("input")))
    assert (out.shape, out.dtype) == ((1, 128, 128), torch.int32)


def test_weights_that_are_given_must_be_the_bundles(segmenter, five_classes, tmp_path):
    same = tmp_path / "renamed.safetensors"
    same.write_bytes(demo_weights("topformer-t").path.read_bytes())
    network, why = reference_network(segmenter.manifest, same)
    assert network is not None
    assert why == ""
    with pytest.raises(UsageError, match="is not the checkpoint that this bundle was made from"):
        reference_network(segmenter.manifest, five_classes)
    with pytest.raises(CheckpointError):
        reference_network(segmenter.manifest, tmp_path / "nothing.pth")


def test_weights_that_are_not_here_are_told(segmenter):
    for weights in (
        Weights("official.pth", "0" * 64, "read as mmseg"),
        Weights(segmenter.manifest.weights.source, "0" * 64, "other demo weights"),
        Weights("random", "0" * 64, "random weights of seed 1, never trained"),
        Weights("random", "0" * 64, "random in some other way"),
    ):
        network, why = reference_network(replace(segmenter.manifest, weights=weights))
        assert network is None
        assert f"The weights {weights.source} are not here" in why
        assert "--weights" in why


def test_random_weights_are_filled_again(segmenter):
    filled = create_model("topformer-t", input_size=(128, 128), num_classes=10)
    digest = fill_seeded(filled, 7)
    note = "random weights of seed 7, never trained: for speed alone"
    manifest = replace(segmenter.manifest, weights=Weights("random", digest, note))
    network, why = reference_network(manifest)
    assert why == ""
    want = filled.state_dict()
    assert all(torch.equal(v, want[k]) for k, v in network.state_dict().items())


def test_options_of_the_architecture_are_kept(segmenter):
    filled = create_model("topformer-t", input_size=(128, 128), num_classes=10, token_stride=64)
    note = "random weights of seed 7, never trained: for speed alone"
    weights = Weights("random", fill_seeded(filled, 7), note)
    manifest = replace(segmenter.manifest, weights=weights, options=(("token_stride", "64"),))
    network, _ = reference_network(manifest)
    assert network.config == filled.config
