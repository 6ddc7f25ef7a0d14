"""The README of a bundle tells how to load each of its files."""

from edgevit.bundle.opened import Bundle
from edgevit.bundle.readme import LOADING, bundle_readme
from edgevit.tasks.table import TASKS
from edgevit_export.formats import FORMATS


def test_the_readme_of_a_bundle_is_made_of_plain_values(host_bundle: Bundle) -> None:
    manifest = host_bundle.manifest
    text = bundle_readme(
        manifest.model, manifest.target, manifest.task, manifest.files, manifest.preprocessing
    )
    assert (host_bundle.path / "README.md").read_text(encoding="utf-8") == text
    assert text.startswith("# topformer-t\n\nWritten by edgevit for host.")
    for file in manifest.files:
        assert f"\n## {file.path}\n" in text


def test_every_task_says_what_its_outputs_are(host_bundle: Bundle) -> None:
    preprocessing = host_bundle.manifest.preprocessing
    for name, task in TASKS.items():
        lines = bundle_readme("a model", "host", name, (), preprocessing).splitlines()
        assert task.outputs in lines
        assert any(f"holds {task.golden}, the input" in line for line in lines)


def test_every_format_says_how_it_is_loaded() -> None:
    assert list(LOADING) == list(FORMATS)
