"""What `--dry-run` prints."""

from pathlib import Path

from edgevit.cli.views.plan import COLUMNS, plan_facts, plan_rows
from edgevit.request.spec import DeploySpec, Source

SPECS = [
    DeploySpec("topformer-t", Path("out")),
    DeploySpec("vit-micro", Path("b"), source=Source(random=True), only_formats=("onnx", "litert")),
    DeploySpec("vit-micro", Path("c"), source=Source(Path("my.pth"))),
]


def test_a_plan_says_what_would_be_written_from_which_weights():
    facts = plan_facts(SPECS)
    assert all(tuple(fact) == COLUMNS for fact in facts)
    assert [fact["weights"] for fact in facts] == ["demo weights", "random", "my.pth"]
    assert facts[0]["input_size"] == [448, 448]
    row = dict(zip(COLUMNS, plan_rows(SPECS)[1], strict=True))
    assert (row["output_dir"], row["model"], row["formats"]) == ("b", "vit-micro", "onnx litert")
