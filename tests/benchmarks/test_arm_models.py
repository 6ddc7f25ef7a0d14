"""docs/arm-models.md tells what its records hold."""

import json
from typing import Any

from benchmarks import arm_models
from edgevit.networks.zoo import MODELS, SYSTEMS

RECORDS: dict[str, Any] = json.loads(arm_models.RECORDS.read_text("utf-8"))


def test_the_page_is_that_of_the_records() -> None:
    assert arm_models.PAGE.read_text("utf-8") == arm_models.page(RECORDS)


def test_every_system_and_every_micro_network_is_in_the_table() -> None:
    names = {cell.model for cell in arm_models.cells()}
    assert {MODELS[name].architecture for name in arm_models.FULL} == set(SYSTEMS)
    assert {name for name in MODELS if name.split("-").count("micro")} <= names


def test_every_fp32_file_computes_on_arm_what_the_network_computes() -> None:
    for key, found in RECORDS["cells"].items():
        if "-fp32-" in key and found["reason"] is None:
            assert found["nearness"]["difference"] <= 1e-4, key


def test_what_is_not_counted_yet_is_said() -> None:
    whole = {cell.key: {"reason": "none"} for cell in arm_models.cells()}
    assert arm_models.left_out({"cells": whole}) == ""
    del whole[next(iter(whole))]
    assert "vit-micro" in arm_models.left_out({"cells": whole})
