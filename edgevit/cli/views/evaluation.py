"""An evaluation as rows and as plain data."""

from edgevit.evaluation.bundles import Evaluation


def evaluation_columns(evaluation: Evaluation) -> tuple[str, ...]:
    """File, score, fp32's score, what is kept of it, what the gate asks, and whether it passed."""
    return ("file", evaluation.metric, "fp32", "kept", "asked", "passed")


def evaluation_rows(evaluation: Evaluation) -> list[list[str]]:
    """A row of `evaluation_columns` a file, and one for each file that did not run."""
    rows = []
    for path, measured in evaluation.files.items():
        verdict = evaluation.verdicts.get(path)
        reference = measured.accuracy.reference
        share, bound, passed = "-", "-", "-"
        if verdict is not None:
            share = "-" if verdict.share is None else f"{verdict.share:.2%}"
            bound = "no gate" if verdict.bound is None else f"{verdict.bound * 100:g}%"
            passed = "yes" if verdict.passed else "NO"
        shown = "-" if reference is None else f"{reference:.4f}"
        rows.append([path, f"{measured.accuracy.value:.4f}", shown, share, bound, passed])
    rows += [
        [path, f"not run: {why}", "-", "-", "-", "-"] for path, why in evaluation.skipped.items()
    ]
    return rows


def evaluation_facts(evaluation: Evaluation) -> dict[str, object]:
    """Plain data, a row a file."""
    rows = []
    for path, measured in evaluation.files.items():
        verdict = evaluation.verdicts.get(path)
        rows.append(
            {
                "path": path,
                "value": measured.accuracy.value,
                "worst": measured.worst,
                "share": None if verdict is None else verdict.share,
                "bound": None if verdict is None else verdict.bound,
                "passed": None if verdict is None else verdict.passed,
            }
        )
    return {
        "bundle": str(evaluation.bundle),
        "device": str(evaluation.device),
        "data": evaluation.data,
        "labeled": evaluation.labeled,
        "samples": evaluation.samples,
        "metric": evaluation.metric,
        "reference": evaluation.reference,
        "unreferenced": evaluation.unreferenced,
        "files": rows,
        "skipped": dict(evaluation.skipped),
        "note": evaluation.note,
    }
