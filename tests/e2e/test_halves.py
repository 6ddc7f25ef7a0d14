"""Files whose floats are halves: each is executed on an emulated ARM core before it is sealed."""

from pathlib import Path

import pytest

from edgevit.deployment.export import deploy
from edgevit.networks.zoo import MODELS
from edgevit.request.spec import DeploySpec, Evaluate, Quantize
from edgevit_export.halves import HALVES

NAMES = ("topformer-t", *(name for name in MODELS if "micro" in name.split("-")))
CELLS = [(name, fmt, p) for name in NAMES for fmt in HALVES for p in HALVES[fmt].precisions]
CELLS = [cell for cell in CELLS if cell[2] != "mixed"]  # written as w8a8
# The others run in make test-all.
FEW = {("vitpose-micro", "litert", "fp16"), ("vit-micro", "executorch", "fp16")}
FEW.add(("vit-micro", "litert", "w8a8"))
# Whole files of float32, as a part of them asks for it.
FLOAT32 = {("t2t-vit-micro", "litert", "fp16"), ("t2t-vit-micro", "litert", "w8a8")}
LEAST_DB = {"fp16": 40.0, "w8a8": 24.0}  # measured of ten cells: 45 and 30 at least


def each():
    return [
        pytest.param(*cell, id=" ".join(cell), marks=() if cell in FEW else pytest.mark.full)
        for cell in CELLS
    ]


@pytest.mark.usefixtures("emulated_device")
@pytest.mark.parametrize(("name", "format_", "precision"), each())
def test_a_core_that_computes_halves_agrees(name, format_, precision, tmp_path: Path):
    spec = DeploySpec(
        name,
        tmp_path / "out",
        only_formats=(format_,),
        precision=precision,
        input_size=(64, 64) if name == "vit-micro" else None,
        quantize=Quantize(samples=16),
        # Scores are of other sizes and of more pictures: docs/quantization.md.
        evaluate=Evaluate(samples=4, accept_accuracy=True, compare_speed=False),
    )
    (file,) = deploy(spec).manifest.files
    if (name, format_, precision) in FLOAT32:
        assert file.verification.floats == ""
        assert file.elsewhere == ()
        return
    (there,) = file.elsewhere
    assert file.verification.floats == HALVES[format_].elsewhere
    assert there.verification.floats == "float16"
    assert there.verification.sqnr is not None
    assert there.verification.sqnr >= LEAST_DB[precision]
