import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edgevit.bundle.manifest import (
    MAX_ACCURACY,
    MAX_DEVICES,
    MAX_FILES,
    MAX_PATH,
    MAX_WORDS,
    SCHEMA,
    Accuracy,
    CalibrationEntry,
    Elsewhere,
    Manifest,
    Member,
    accuracy_of,
    dump,
    parse,
    with_accuracy,
    with_accuracy_elsewhere,
)
from edgevit.bundle.opened import MANIFEST, Bundle
from edgevit.errors import BundleError, CheckFailed
from edgevit.networks.zoo import preprocessing_of


@pytest.fixture
def manifest(host_bundle: Bundle) -> Manifest:
    return host_bundle.manifest


def changed(manifest: Manifest, change: Callable[[dict[str, Any]], object]) -> str:
    """The text of a manifest with other contents and a seal of before."""
    content = json.loads(dump(manifest))
    change(content)
    return json.dumps(content, indent=1) + "\n"


def test_what_is_written_is_read(manifest: Manifest, host_bundle: Bundle) -> None:
    text = (host_bundle.path / MANIFEST).read_text()
    assert parse(text) == manifest
    assert dump(parse(text)) == text


def test_the_text_is_the_same_every_time_and_holds_no_time(manifest: Manifest) -> None:
    content = json.loads(dump(manifest))
    assert next(iter(content)) == "schema"
    assert list(content)[-1] == "seal"
    assert content["schema"] == SCHEMA
    assert not {"time", "date", "created", "host", "user"} & set(content)
    assert dump(manifest) == dump(replace(manifest))


def test_what_is_known_elsewhere_is_read_again(manifest: Manifest) -> None:
    assert "elsewhere" not in json.loads(dump(manifest))["files"][0]  # as it was before
    here = manifest.files[0]
    other = Elsewhere("emulated:cortex-a77", here.verification)
    told = replace(manifest, files=(replace(here, elsewhere=(other, other)), *manifest.files[1:]))
    assert parse(dump(told)) == told
    assert parse(dump(told)).files[0].elsewhere == (other, other)


def test_what_floats_were_computed_in_is_read_again(manifest: Manifest) -> None:
    assert "floats" not in json.loads(dump(manifest))["files"][0]["verification"]
    here = manifest.files[0]
    told = replace(here, verification=replace(here.verification, floats="float16"))
    changed = replace(manifest, files=(told, *manifest.files[1:]))
    assert parse(dump(changed)) == changed
    content = json.loads(dump(changed))
    content["files"][0]["verification"]["floats"] = "float8"
    with pytest.raises(BundleError, match="floats 'float8'"):
        parse(sealed_anew(content))


@pytest.mark.parametrize(
    "harm",
    [
        "many",
        [{"device": "x"}] * (MAX_DEVICES + 1),
        [{"device": "x"}],
        [{"device": 3, "verification": {}}],
        [{"device": "x" * (MAX_WORDS + 1), "verification": {}}],
        [{"device": "x", "verification": {}}],
        ["x"],
    ],
)
def test_what_is_known_elsewhere_must_be_what_was_written(manifest: Manifest, harm: object) -> None:
    content = json.loads(dump(manifest))
    content["files"][0]["elsewhere"] = harm
    with pytest.raises(BundleError, match=r"manifest\.json"):
        parse(sealed_anew(content))


def test_letters_of_all_scripts_are_kept(manifest: Manifest) -> None:
    count = len(manifest.labels)
    labels = ("Straße", "道路", "\u202eright", *(f"c{i}" for i in range(3, count)))
    assert parse(dump(replace(manifest, labels=labels))).labels == labels


@pytest.mark.parametrize(
    ("task", "recipe", "size"),
    [
        ("classification", "deit", (224, 224)),
        ("pose", "pose", (256, 192)),
        ("video", "mvit-video-16x4", (16, 224, 224)),
        ("features", "detection", (672, 672)),
    ],
)
def test_every_task_is_written_and_read(
    task: str, recipe: str, size: tuple[int, ...], manifest: Manifest
) -> None:
    other = replace(
        manifest, task=task, input_size=size, preprocessing=preprocessing_of(recipe, size)
    )
    assert parse(dump(other)) == other


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(model="other"),
        lambda c: c["labels"].__setitem__(0, "other"),
        lambda c: c["preprocessing"]["mean"].__setitem__(0, 1.0),
        lambda c: c["files"][0]["verification"].update(difference=0.0),
        lambda c: c.update(seal="0" * 64),
        lambda c: c.pop("seal"),
        lambda c: c.update(files=c.pop("files")),
    ],
    ids=["model", "label", "mean", "difference", "seal", "no seal", "order"],
)
def test_an_edit_breaks_the_seal(manifest: Manifest, change: Any) -> None:
    with pytest.raises(CheckFailed, match="is not the file that was sealed"):
        parse(changed(manifest, change))


def test_a_key_given_twice_breaks_the_seal(manifest: Manifest) -> None:
    text = dump(manifest).replace('"schema": 1,', '"schema": 1,\n "schema": 1,', 1)
    with pytest.raises(CheckFailed, match="is not the file that was sealed"):
        parse(text)


@pytest.mark.parametrize(
    "path", ["", ".", "../x.onnx", "a/../../x.onnx", "/x.onnx", "a\\x.onnx", "C:x.onnx"]
)
@pytest.mark.parametrize("kind", ["files", "members"])
def test_paths_stay_inside(manifest: Manifest, kind: str, path: str) -> None:
    with pytest.raises(BundleError, match="outside itself") as refused:
        parse(changed(manifest, lambda c: c[kind][0].update(path=path)))
    assert "do not trust" in str(refused.value.next)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c["files"][0].update(path="m" * MAX_PATH + ".onnx"), "too long"),
        (lambda c: c["files"][0].update(path="a\0.onnx"), "no text"),
        (lambda c: c["files"][0].update(path=7), "no text"),
        (lambda c: c["files"][0].update(path="model.pte"), "of format 'onnx'"),
        (lambda c: c["files"][0].update(format="exe"), "of format 'exe'"),
        (lambda c: c["files"][0].update(size=-1), "no count"),
        (lambda c: c["files"][0].update(size=True), "no count"),
        (lambda c: c["files"][0].update(sha256="a" * 63), "no sha256"),
        (lambda c: c["files"][0].update(sha256="g" * 64), "no sha256"),
        (lambda c: c["files"][0].update(inputs=[]), "no inputs"),
        (lambda c: c["files"][0].update(outputs=[]), "no outputs"),
        (lambda c: c["files"][0]["inputs"][0].update(layout="NWHC"), "layout"),
        (lambda c: c["files"][0]["inputs"][0].update(shape=[1] * 9), "shape"),
        (lambda c: c["files"][0]["inputs"][0].update(shape=["1"]), "no count"),
        (lambda c: c["files"][0]["verification"].update(status="fine"), "status"),
        (lambda c: c["files"][0]["verification"].update(difference="0"), "no number"),
        (lambda c: c["files"][0]["verification"].update(runtime=[1]), "items"),
        (lambda c: c["files"][0]["facts"].update(x=[1]), "no text"),
        (lambda c: c["files"][0].pop("facts"), "facts"),
        (lambda c: c["passes"][0].update(difference=10**400), "too large"),
        (lambda c: c.update(files=[]), "no files"),
        (lambda c: c.update(files=c["files"] * MAX_FILES), "too many files"),
        (lambda c: c.update(members={"a": 1}), ""),
        (lambda c: c.update(labels=["x"] * 70_000), "too many labels"),
        (lambda c: c.update(labels=[1]), "no text"),
        (lambda c: c.update(options=[]), ""),
        (lambda c: c.update(input_size=[32, 64]), "not that of the preprocessing"),
        (lambda c: c.update(input_size=[8, 64, 64]), "not that of the preprocessing"),
        (lambda c: c.update(input_size=["64", 64]), "no count"),
        (lambda c: c.update(task="pose"), "pose takes fit box, not stretch"),
        (lambda c: c.update(task="video"), "video takes clips"),
        (lambda c: c.update(task="cooking"), "cooking takes fit none"),
        (lambda c: c["preprocessing"].update(fit="crop", crop=0.9), "takes fit stretch or pad"),
        (lambda c: c.update(input_size=[64]), ""),
        (lambda c: c.update(weights={}), ""),
        (lambda c: c.update(extra=1), "extra"),
        (lambda c: c.pop("passes"), "passes"),
    ],
)
def test_what_does_not_fit_the_schema_is_named(manifest: Manifest, change: Any, why: str) -> None:
    with pytest.raises(BundleError, match=r"^The bundle is broken: .*\.$") as refused:
        parse(changed(manifest, change))
    assert why in refused.value.message
    assert len(refused.value.message) < 400


def test_preprocessing_out_of_bounds_is_refused(manifest: Manifest) -> None:
    with pytest.raises(BundleError, match="preprocessing"):
        parse(changed(manifest, lambda c: c["preprocessing"].update(std=[0, 1, 1])))
    with pytest.raises(BundleError, match="preprocessing"):
        parse(changed(manifest, lambda c: c["preprocessing"].update(size=[9999, 9999])))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"schema": NaN, "edgevit": "1"}', "not JSON"),
        ('{"schema": 1e999, "edgevit": "1"}', "not the manifest"),
        ("null", "not the manifest"),
        ("[]", "not the manifest"),
        ('{"schema": true, "edgevit": "1"}', "not the manifest"),
        ('{"schema": 1, "name": "a web app"}', "not the manifest"),
    ],
)
def test_what_is_no_manifest_is_refused(text: str, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        parse(text)


def test_a_newer_schema_is_told_before_anything_else_is_read() -> None:
    with pytest.raises(BundleError, match="schema 7; this edgevit reads up to 1") as refused:
        parse('{"schema": 7, "edgevit": "9", "unknown": 1}')
    assert refused.value.next == "pip install --upgrade edgevit"


SCORED = Accuracy("mIoU", 0.5, 0.51, 20, "drawn scenes 1-20", True)
AGREED = Accuracy("mIoU agreement", 0.97, None, 7, "photos (0123456789ab)", False)


def test_measurements_are_written_and_read(manifest: Manifest) -> None:
    first, second = (file.path for file in manifest.files[:2])
    agreed = with_accuracy(manifest, {first: AGREED})
    assert agreed.accuracy == "agreement only"
    assert agreed.files[0].accuracy == (AGREED,)
    assert agreed.files[1:] == manifest.files[1:]
    both = with_accuracy(agreed, {first: SCORED, second: SCORED})
    assert both.accuracy == "measured"
    assert both.files[0].accuracy == (AGREED, SCORED)
    for each in (manifest, agreed, both):
        assert parse(dump(each)) == each
        assert dump(parse(dump(each))) == dump(each)


def test_the_best_and_the_worst_score_are_scores(manifest: Manifest) -> None:
    both = replace(SCORED, value=1.0, reference=-1.0)
    scored = with_accuracy(manifest, {manifest.files[0].path: both})
    assert parse(dump(scored)) == scored


def with_calibration(manifest: Manifest, data: str, samples: int) -> Manifest:
    return replace(manifest, calibration=CalibrationEntry(data, ("0" * 64,) * samples, "mse", ()))


def with_members(manifest: Manifest, count: int) -> Manifest:
    more = count - len(manifest.files) - len(manifest.members)
    added = tuple(Member(f"{index}.npy", 0, "0" * 64) for index in range(more))
    return replace(manifest, members=(*manifest.members, *added))


def with_rank(manifest: Manifest, rank: int) -> Manifest:
    first, *others = manifest.files
    spec = replace(first.inputs[0], shape=(1,) * rank)
    return replace(manifest, files=(replace(first, inputs=(spec,)), *others))


LIMITS: dict[str, tuple[int, Callable[[Manifest, int], Manifest]]] = {
    "files": (64, with_members),
    "labels": (65_536, lambda m, n: replace(m, labels=tuple(map(str, range(n))))),
    "path": (200, lambda m, n: replace(m, members=(replace(m.members[0], path="p" * n),))),
    "samples": (512, lambda m, n: with_calibration(m, "photos", n)),
    "name of calibration data": (300, lambda m, n: with_calibration(m, "x" * n, 1)),
    "name of data": (
        300,
        lambda m, n: with_accuracy(m, {m.files[0].path: replace(SCORED, data="x" * n)}),
    ),
    "name of a metric": (
        300,
        lambda m, n: with_accuracy(m, {m.files[0].path: replace(SCORED, metric="x" * n)}),
    ),
    "rank": (8, with_rank),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_itself_allowed_and_one_more_is_not(manifest: Manifest, name: str) -> None:
    limit, change = LIMITS[name]
    most = change(manifest, limit)
    assert parse(dump(most)) == most
    with pytest.raises(BundleError, match="does not fit its schema"):
        parse(dump(change(manifest, limit + 1)))


def test_a_calibration_with_another_entry_is_refused(manifest: Manifest) -> None:
    calibrated = with_calibration(manifest, "photos", 3)
    assert parse(dump(calibrated)) == calibrated
    with pytest.raises(BundleError, match="calibration is not what was written"):
        parse(changed(calibrated, lambda c: c["calibration"].update(more=1)))


def test_the_same_metric_and_data_are_measured_anew(manifest: Manifest) -> None:
    path = manifest.files[0].path
    more = replace(SCORED, samples=200, value=0.6)
    once = with_accuracy(with_accuracy(manifest, {path: SCORED}), {path: more})
    assert once.files[0].accuracy == (more,)
    many = manifest
    for index in range(MAX_ACCURACY):
        many = with_accuracy(many, {path: replace(SCORED, data=str(index))})
    assert parse(dump(many)) == many
    with pytest.raises(BundleError, match="already has 32 measurements"):
        with_accuracy(many, {path: replace(SCORED, data="one more")})
    with_accuracy(many, {path: replace(SCORED, data="3")})


def test_scores_of_other_devices_are_kept_apart(manifest: Manifest) -> None:
    path, checked = manifest.files[0].path, manifest.files[0].verification
    first, second = (Accuracy("top-1", v, 0.5, 10, "some data", True) for v in (0.5, 0.25))

    def scored(known: Manifest, entry: Accuracy, device: str) -> Manifest:
        return with_accuracy_elsewhere(known, {path: entry}, device, {path: checked})

    one = scored(manifest, first, "emulated:cortex-a77")
    assert one.files[0].elsewhere == (Elsewhere("emulated:cortex-a77", checked, (first,)),)
    assert one.accuracy == manifest.accuracy, "it is said of this machine"
    assert parse(dump(one)) == one
    two = scored(scored(one, second, "emulated:cortex-a77"), first, "adb")
    assert [entry.accuracy for entry in two.files[0].elsewhere] == [(second,), (first,)]
    assert two.files[1:] == manifest.files[1:]
    crowded = replace(
        manifest,
        files=(
            replace(
                manifest.files[0],
                elsewhere=tuple(Elsewhere(f"ssh:a@b{n}", checked) for n in range(MAX_DEVICES)),
            ),
        ),
    )
    with pytest.raises(BundleError, match=f"{MAX_DEVICES} devices"):
        scored(crowded, first, "adb")


def test_the_word_for_all_files_is_theirs(manifest: Manifest) -> None:
    file = manifest.files[0]
    for entries, word in (
        ((), "not measured"),
        ((AGREED,), "agreement only"),
        ((AGREED, SCORED), "measured"),
    ):
        assert accuracy_of([manifest.files[1], replace(file, accuracy=entries)]) == word


def sealed_anew(content: dict[str, Any]) -> str:
    del content["seal"]
    seal = hashlib.sha256(json.dumps(content, indent=1).encode()).hexdigest()
    return json.dumps({**content, "seal": seal}, indent=1) + "\n"


def test_a_manifest_of_before_calibration_has_none(manifest: Manifest) -> None:
    content = json.loads(dump(manifest))
    del content["calibration"]
    # It was sealed without the entry, and a seal is of what is written.
    with pytest.raises(CheckFailed, match="is not the file that was sealed"):
        parse(json.dumps(content, indent=1) + "\n")
    assert parse(sealed_anew(content | {"seal": ""})).calibration is None


def test_a_manifest_of_before_accuracy_is_not_measured(manifest: Manifest) -> None:
    content = json.loads(dump(manifest))
    for entry in content["files"]:
        del entry["accuracy"]
    old = parse(sealed_anew(content))
    assert old.accuracy == "not measured"
    assert all(file.accuracy == () for file in old.files)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda e: e.update(value="0.5"), "no number"),
        (lambda e: e.update(value=1.5), "no score"),
        (lambda e: e.update(value=True), "no number"),
        (lambda e: e.update(reference=-2), "no score"),
        (lambda e: e.update(reference=10**400), "too large"),
        (lambda e: e.update(samples=-1), "no count"),
        (lambda e: e.update(samples=1.0), "no count"),
        (lambda e: e.update(metric=7), "no text"),
        (lambda e: e.update(data="x" * (MAX_WORDS + 1)), "too long"),
        (lambda e: e.update(labeled=1), "labeled"),
        (lambda e: e.update(labeled=False), "is not that of its files"),
        (lambda e: e.update(more=1), "more"),
        (lambda e: e.pop("reference"), "reference"),
    ],
)
def test_a_measurement_is_checked(manifest: Manifest, change: Any, why: str) -> None:
    path = manifest.files[0].path
    scored = with_accuracy(manifest, {path: SCORED})
    with pytest.raises(BundleError, match=why):
        parse(changed(scored, lambda c: change(c["files"][0]["accuracy"][0])))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c.update(accuracy="measured"), "is not that of its files"),
        (lambda c: c.update(accuracy="excellent"), "is not that of its files"),
        (lambda c: c.update(accuracy=None), "is not that of its files"),
        (lambda c: c["files"][0].update(accuracy={}), "no list"),
        (lambda c: c["files"][0].update(accuracy=[7]), "not iterable"),
        (lambda c: c["files"][0].update(accuracy=[{}] * (MAX_ACCURACY + 1)), "no list of up to 32"),
    ],
)
def test_the_list_of_measurements_is_checked(manifest: Manifest, change: Any, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        parse(changed(manifest, change))


def test_scores_that_are_no_numbers_are_refused(manifest: Manifest) -> None:
    scored = with_accuracy(manifest, {manifest.files[0].path: SCORED})
    for value in ("NaN", "Infinity", "1e999"):
        text = dump(scored).replace('"value": 0.5', f'"value": {value}', 1)
        with pytest.raises(BundleError):
            parse(text)
