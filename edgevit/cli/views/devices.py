"""Devices as rows and as plain data."""

from collections.abc import Sequence

from edgevit_runtimes.listing import Listed

COLUMNS = ("device", "state", "runs", "how", "next")


def device_rows(listed: Sequence[Listed]) -> list[list[str]]:
    """A row of `COLUMNS` a device."""
    return [
        [entry.device, entry.state, ", ".join(entry.engines) or "-", entry.how, entry.next or ""]
        for entry in listed
    ]


def device_facts(listed: Sequence[Listed]) -> list[dict[str, object]]:
    """Plain data."""
    return [
        {
            "device": entry.device,
            "state": entry.state,
            "runtimes": list(entry.engines),
            "how": entry.how,
            "next": entry.next,
        }
        for entry in listed
    ]
