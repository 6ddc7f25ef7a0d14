"""What `list` and `info` tell."""

import json

import pytest

from edgevit.cli.views.models import COLUMNS, model_facts, model_lines, model_rows
from edgevit.errors import UsageError
from edgevit.networks.zoo import MODELS, PREPARATIONS, model_card
from edgevit_export.formats import FORMATS


def test_facts_are_the_cards():
    for name in MODELS:
        facts, card = model_facts(name), model_card(name)
        assert json.loads(json.dumps(facts)) == facts, name
        assert facts["params"] == card.params, name
        assert facts["gmacs"] == card.gmacs, name
        assert facts["classes"] == card.num_classes, name
        assert facts["input_size"] == list(card.input_size), name
        assert list(facts["precisions"]) == list(FORMATS), name
        assert len(facts["published"]) == len(card.published), name
        lines = model_lines(facts)
        # A fact may take several lines.
        labels = list(dict.fromkeys(label for label, _ in lines))
        assert labels == [key.replace("_", " ") for key in facts], name
        assert all(isinstance(text, str) and text for _, text in lines), name


def test_the_preprocessing_and_its_source_are_told():
    told = model_facts("t2t-vit-7")["preprocessing"]
    assert told == {"t2t": [PREPARATIONS["t2t"].source]}
    lines = model_lines(model_facts("t2t-vit-7"))
    assert ["preprocessing", f"t2t: {PREPARATIONS['t2t'].source}"] in lines


def test_rows_are_filtered_by_name_and_task():
    assert [row[0] for row in model_rows("", None)] == list(MODELS)
    found = [row[0] for row in model_rows("-s", "segmentation")]
    assert found == ["topformer-s", "vit-adapter-s-upernet"]
    assert {row[1] for row in model_rows("", "video")} == {"video"}
    assert model_rows("resnet", None) == []
    assert {len(row) for row in model_rows("", None)} == {len(COLUMNS)}


def test_no_row_shows_a_zero():
    for row in model_rows("", None):
        assert row[3] not in ("0.00 M", "")
        assert float(row[4]) > 0


@pytest.mark.parametrize(
    ("name", "published", "source"),
    [
        ("topformer-s", "36.5 ADE20K mIoU, 512x512, batch 16", "hustvl/TopFormer README.md"),
        (
            "vit-tiny-16",  # at the input size of the row, which 384 px is not
            "75.452 ImageNet top-1, 224x224, AugReg, in21k to in1k",
            "huggingface/pytorch-image-models results/results-imagenet.csv",
        ),
        (
            "vitpose-plus-b",
            "77.0 COCO val AP, 256x192, person detector of 56 AP, flip test",
            "ViTAE-Transformer/ViTPose README.md",
        ),
        ("t2t-vit-14", "81.5 ImageNet top-1", "yitu-opensource/T2T-ViT README.md"),
        (
            "mvitv2-s-video",
            "81.0 Kinetics-400 top-1",
            "facebookresearch/SlowFast projects/mvitv2/README.md",
        ),
        ("vit-micro", "-", "-"),
    ],
)
def test_a_row_has_the_first_published_score_and_its_source(name, published, source):
    row = dict(zip(COLUMNS, next(r for r in model_rows(name, None) if r[0] == name), strict=True))
    assert (row["published"], row["source"]) == (published, source)


def test_formats_that_cannot_hold_the_weights_are_not_told():
    formats = {row[0]: row[COLUMNS.index("formats")] for row in model_rows("", None)}
    alone = {name for name, told in formats.items() if told == "coreml"}
    # In fp16, the only precision in which 630 million numbers and more lie below 2 GiB.
    assert alone == {
        *("vit-huge-14", "mvitv2-h", "mvitv2-h-fpn"),
        *("vitpose-h", "vitpose-h-simple", "vitpose-plus-h"),
    }
    assert {formats[name] for name in set(formats) - alone} == {", ".join(FORMATS)}
    facts = model_facts("vit-huge-14")
    assert facts["formats"] == ["coreml"]
    assert facts["precisions"] == {"onnx": [], "executorch": [], "litert": [], "coreml": ["fp16"]}
    lines = model_lines(facts)
    assert ["precisions", "onnx: none, its weights are too large for one file"] in lines
    assert ["formats", "coreml"] in lines


def test_only_models_with_demo_weights_show_some():
    shown = {row[0]: row[COLUMNS.index("demo weights")] for row in model_rows("", None)}
    assert shown["topformer-t"].startswith("mIoU 0.")
    assert shown["topformer-b"] == "-"
    assert model_facts("topformer-b")["demo_weights"] is None


def test_an_unknown_model():
    with pytest.raises(UsageError, match="There is no model 'x'"):
        model_facts("x")
