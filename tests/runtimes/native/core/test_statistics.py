import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.native import program
from tests.support.once import Shared


@pytest.mark.parametrize("count", [1, 2, 3, 10, 999, 1000])
def test_percentiles_are_numpys(shared: Shared, tmp_path: Path, count: int) -> None:
    samples = np.random.default_rng(count).integers(0, 10**12, count)
    samples[: count // 3] = 7  # ties
    samples.astype(np.int64).tofile(tmp_path / "samples")
    done = program(shared, "sanitized")("latency", f"in={tmp_path / 'samples'}")
    latency = json.loads(done.stdout)
    assert latency.pop("count") == count
    exact = {name: np.percentile(samples, int(name[1:])) for name in ("p10", "p50", "p90", "p99")}
    exact |= {"mean": samples.mean(), "least": samples.min(), "most": samples.max()}
    assert latency == pytest.approx(exact, rel=1e-12)


def test_no_samples_have_no_percentiles(shared: Shared, tmp_path: Path) -> None:
    (tmp_path / "samples").touch()
    done = program(shared, "sanitized")("latency", f"in={tmp_path / 'samples'}")
    assert done.returncode == 1
    assert "status 2" in done.stderr
