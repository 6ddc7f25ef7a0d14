"""reparameterize: every exact rewrite for one format of a target."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgevit.request.targets import narrowed, target_named

if TYPE_CHECKING:
    from edgevit.networks.line import PassReport
    from edgevit.networks.parts.layers import Network


def reparameterize(
    model: "Network",
    target: str = "android-arm64",
    format: str | None = None,  # noqa: A002 - a file format, as everywhere
    seed: int = 0,
    report: "Callable[[PassReport], None]" = lambda _: None,
) -> "Network":
    """Every exact rewrite for one format of a target, or for its preferred one; the given network
    stays as it was.

    Raises `UsageError` on an unknown target or a format it does not take, and `CheckFailed` where a
    pass changed an output.
    """
    from edgevit.networks.line import run_line

    formats = narrowed(target_named(target), (format,) if format else ())
    common = run_line(model, "common", None, seed, report)
    return run_line(common, "format", formats[0], seed, report)
