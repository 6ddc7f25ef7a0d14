"""`edgevit quantize`: what a network loses by being int8, block by block, before anything is
exported.
"""

import json
from pathlib import Path
from typing import cast

from edgevit.deployment.files import scheme_for
from edgevit.deployment.prepare import edit, prepare
from edgevit.errors import UsageError
from edgevit.quantize.sensitivity import INT8_COST, Sensitivity, sensitivity
from edgevit.request.check import check_request
from edgevit.request.spec import DeploySpec
from edgevit.steps import Report, Step, silent

MOST_BYTES = 1 << 20  # of a measurement file
COLUMNS = ("int8", "block", "cost", "SQNR", "metric", "Pareto")


def network_sensitivity(
    spec: DeploySpec, costs: Path | None = None, report: Report = silent
) -> Sensitivity:
    """Load and rewrite a network as `deploy` does, and measure what its blocks lose.

    spec: its precision is taken for w8a8's. costs: a JSON object of ms that the integers of a
    block save, by its name. Raises what `deploy` raises before it exports, and `UsageError` on a
    measurement file that does not fit.
    """
    saved = None if costs is None else read_costs(costs)
    check_request(spec)
    prepared = prepare(spec, report)
    assert prepared.calibration is not None
    found = sensitivity(
        prepared.network,
        edit(prepared, report).network,
        prepared.subject,
        prepared.calibration,
        prepared.gate,
        scheme_for(spec, "w8a8"),
        saved,
        lambda what, done, total: report(Step("start", f"{what}, {done} of {total}")),
    )
    report(Step("done", f"measured {len(found.rows)} blocks and {len(found.points)} mixtures"))
    return found


def read_costs(path: Path) -> dict[str, float]:
    """A measurement file; raises `UsageError` where it is none."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"{path} is larger than {MOST_BYTES} bytes.")
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        raise UsageError(
            f"{path} cannot be read as JSON.", next='a file like {"blocks.0.mlp": 1.25}'
        ) from None
    if not isinstance(content, dict) or not all(
        isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v < 1e9
        for v in content.values()
    ):
        raise UsageError(
            f"{path} does not hold milliseconds by block.", next='{"blocks.0.mlp": 1.25}'
        )
    return cast("dict[str, float]", content)


def sensitivity_rows(found: Sensitivity) -> list[list[str]]:
    """A row of `COLUMNS` a block, the worst first, and then a mixture, from all int8 to all float.

    The cost is of the whole network, 1 where all of it is float.
    """
    total = sum(row.block.macs for row in found.rows)
    rows = [
        [
            "one block",
            row.block.name,
            f"{1 - (1 - INT8_COST) * row.block.macs / total:.3f}",
            f"{row.sqnr:.1f} dB",
            "-" if row.value is None else f"{row.value:.4f}",
            "-",
        ]
        for row in sorted(found.rows, key=lambda row: row.sqnr)
    ]
    for point in found.points:
        count = len(point.floats)
        rows.append(
            [
                f"all but {count}" if count else "all",
                f"float too: {point.floats[-1]}" if count else "-",
                f"{point.cost:.3f}",
                f"{point.sqnr:.1f} dB",
                "-" if point.value is None else f"{point.value:.4f}",
                "yes" if point.best else "no",
            ]
        )
    return rows


def to_json(found: Sensitivity) -> dict[str, object]:
    """Plain data, with the patterns that `--keep-float` takes."""
    return {
        "metric": found.metric,
        "float_value": found.float_value,
        "costs": "measured" if found.measured_costs else "modelled by MACs",
        "blocks": [
            {
                "name": row.block.name,
                "layers": list(row.block.layers),
                "macs": row.block.macs,
                "sqnr_db": row.sqnr,
                "value": row.value,
            }
            for row in found.rows
        ],
        "mixtures": [
            {
                "float_blocks": list(point.floats),
                "keep_float": list(found.patterns(point)),
                "cost": point.cost,
                "sqnr_db": point.sqnr,
                "value": point.value,
                "pareto": point.best,
            }
            for point in found.points
        ],
    }
