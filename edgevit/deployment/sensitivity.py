"""`edgevit quantize`: what a network loses by being int8, block by block, before anything is
exported.
"""

import json
from pathlib import Path
from typing import cast

from edgevit.deployment.files import scheme_for
from edgevit.deployment.prepare import edit, prepare
from edgevit.errors import UsageError
from edgevit.quantize.sensitivity import Sensitivity, measure_sensitivity
from edgevit.request.check import check_request
from edgevit.request.spec import DeploySpec
from edgevit.steps import Report, Step, silent

MOST_BYTES = 1 << 20  # of a measurement file


def sensitivity_of(
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
    sensitivity = measure_sensitivity(
        prepared.network,
        edit(prepared, report).network,
        prepared.subject,
        prepared.calibration,
        prepared.gate,
        scheme_for(spec, "w8a8"),
        saved,
        lambda what, done, total: report(Step("start", f"{what}, {done} of {total}")),
    )
    blocks, mixtures = len(sensitivity.rows), len(sensitivity.points)
    report(Step("done", f"measured {blocks} blocks and {mixtures} mixtures"))
    return sensitivity


def read_costs(path: Path) -> dict[str, float]:
    """Read a measurement file; raises `UsageError` if it is not one."""
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
