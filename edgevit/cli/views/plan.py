"""What `edgevit export --dry-run` would write, as rows and as plain data."""

from collections.abc import Sequence

from edgevit.request.spec import DeploySpec

COLUMNS = ("output_dir", "model", "input_size", "precision", "formats", "weights")


def plan_facts(specs: Sequence[DeploySpec]) -> list[dict[str, object]]:
    """One object a bundle, with the keys of `COLUMNS`."""
    return [
        {
            "output_dir": str(spec.output_dir),
            "model": spec.model,
            "input_size": list(spec.input_size or spec.card.input_size),
            "precision": spec.resolved_precision,
            "formats": list(spec.formats),
            "weights": _weights(spec),
        }
        for spec in specs
    ]


def _weights(spec: DeploySpec) -> str:
    if spec.source.random:
        return "random"
    return str(spec.source.checkpoint or "demo weights")


def plan_rows(specs: Sequence[DeploySpec]) -> list[list[str]]:
    """A row of `COLUMNS` a bundle."""
    return [
        [" ".join(map(str, v)) if isinstance(v, list) else str(v) for v in facts.values()]
        for facts in plan_facts(specs)
    ]
