import hashlib
import json
from pathlib import Path

import pytest

from framework.core.errors import ReleaseError
from framework.core.gates import Bound, unmet
from framework.core.release import LOCK, ORIGIN, Release, built_from, config_digest

SHA = "sha256:" + "0123456789abcdef" * 4


def release(**changes: object) -> Release:
    fields = {
        "name": "tiny",
        "recipe": "tiny",
        "plan": "f" * 64,
        "model_uri": "file://.gitune/models/01",
        "digest": SHA,
        "engine": "genai",
        "task": "causal-lm",
        "base_model": "random",
        "base_model_license": "Apache-2.0",
        "data_digest": SHA,
        "chat_template_digest": None,
        "metrics": {"tuned.exact_match": 0.75, "base.exact_match": 0.0},
        "gates": {"tuned.exact_match": ">= 0.5"},
        "commit": None,
    }
    return Release.model_validate(fields | changes)


def test_text_is_byte_stable_and_sorted() -> None:
    one = release(metrics={"b.x": 1.0, "a.x": 0.5}).text()
    other = release(metrics={"a.x": 0.5, "b.x": 1.0}).text()
    assert one == other
    assert one.endswith("}\n")
    assert not one.endswith("\n\n")
    keys = list(json.loads(one))
    assert keys == sorted(keys)
    assert "_target_" not in one
    assert '"digest": "sha256:0123' in one


def test_bare_gate_binds_the_released_candidate() -> None:
    metrics = {"base.f1": 0.1, "tuned.f1": 1.0, "fp32.agreement": 1.0, "int4.f1": 0.704}
    gates = {"f1": Bound(min=0.95), "tuned.f1": Bound(min=0.9)}
    bounds = release(metrics=metrics, candidate="int4").bounds(gates)
    assert set(bounds) == {"int4.f1", "tuned.f1"}
    (missed,) = unmet(bounds, metrics)
    assert missed.startswith("int4.f1 is 0.704")
    (missed,) = unmet(release(metrics=metrics, candidate="fp32").bounds(gates), metrics)
    assert missed.startswith("fp32.f1 was not measured")


@pytest.mark.parametrize(
    ("metrics", "released"),
    [
        (("base.f1", "tuned.f1"), ("tuned",)),
        (("tuned.f1", "fp32.agreement", "fp32.metric_loss"), ("fp32",)),
        (
            ("tuned.f1", "pruned.metric_loss", "fp32.agreement", "int4.agreement", "int4.metric_loss"),
            ("int4",),
        ),
        (("bf16.agreement", "bf16.metric_loss", "int8.agreement", "int8.metric_loss"), ("bf16", "int8")),
    ],
)
def test_lock_that_does_not_name_its_candidate_keeps_its_seal(
    metrics: tuple[str, ...], released: tuple[str, ...]
) -> None:
    old = release(metrics=dict.fromkeys(metrics, 1.0))
    assert "candidate" not in json.loads(old.text())
    assert Release.parse(old.text(), "lock") == old
    assert old.released == released
    named = release(metrics=dict.fromkeys(metrics, 1.0), candidate="int4")
    assert json.loads(named.text())["candidate"] == "int4"
    assert named.seal != old.seal


def test_committed_lock_is_of_its_compressed_candidate() -> None:
    committed = Release.read(Path(__file__).parents[3] / "environments" / "dev" / "quickstart" / LOCK)
    assert committed.released == ("int4",)


def test_lock_reads_back_equal(tmp_path: Path) -> None:
    first = release(base_model="modèle")
    (tmp_path / LOCK).write_text(first.text(), encoding="utf-8")
    again = Release.read(tmp_path / LOCK)
    assert again == first
    assert again.text() == first.text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ('{"name": ', "not JSON"),
        ("[]", "restore the file from Git"),
        ("{}", "name: Field required"),
        (release().text().replace(SHA, "sha256:00"), "digest: String should match pattern"),
        (release().text().replace('"name"', '"nmae"'), "nmae|name"),
        (release().text().replace("0.75", "NaN"), "finite"),
    ],
)
def test_broken_lock_is_a_one_line_error(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / LOCK).write_text(text)
    with pytest.raises(ReleaseError, match=says) as caught:
        Release.read(tmp_path / LOCK)
    assert str(tmp_path / LOCK) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_binary_lock_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReleaseError, match="restore the file from Git"):
        Release.read(tmp_path / LOCK)


def test_folder_in_place_of_a_lock_is_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="cannot be read: Is a directory; restore the file from Git"):
        Release.read(tmp_path)


def test_missing_lock_error_says_how_to_build_one(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="build one with `run"):
        Release.read(tmp_path / LOCK)


@pytest.mark.parametrize("edit", [("0.75", "0.95"), ('"gates": {', '"gates": {\n    "tuned.f1": ">= 0.9",')])
def test_edited_lock_is_refused(tmp_path: Path, edit: tuple[str, str]) -> None:
    text = release().text()
    (tmp_path / LOCK).write_text(text.replace(*edit))
    assert edit[0] in text
    with pytest.raises(ReleaseError, match="edited: its seal does not match its content; restore") as caught:
        Release.read(tmp_path / LOCK)
    assert "\n" not in str(caught.value)


def test_lock_without_a_seal_is_refused(tmp_path: Path) -> None:
    first = release()
    (tmp_path / LOCK).write_text(first.text().replace(f'  "seal": "{first.seal}",\n', ""))
    with pytest.raises(ReleaseError, match="it has no seal, so its metrics cannot be trusted; publish again"):
        Release.read(tmp_path / LOCK)


def test_seal_is_the_sha256_of_the_content(tmp_path: Path) -> None:
    text = release().text()
    rest = "".join(line for line in text.splitlines(keepends=True) if '"seal":' not in line)
    assert f'"seal": "sha256:{hashlib.sha256(rest.encode()).hexdigest()}"' in text


COMMIT = "6f12907" + "0" * 33
KNOWN = {
    "overrides": ["tuning.rank=4"],
    "built_for": "dev",
    "config_digest": SHA,
    "steps": {"tune": "0" * 12},
    "commit": COMMIT,
    "clean": True,
}


def test_lock_without_an_origin_keeps_its_text_and_seal(tmp_path: Path) -> None:
    """As every lock of an earlier version: its origin is unknown, and it is no other lock."""
    text = release(commit=COMMIT).text()
    assert not {*json.loads(text)} & {*ORIGIN}
    (tmp_path / LOCK).write_text(text)
    read = Release.read(tmp_path / LOCK)
    assert {getattr(read, name) for name in ORIGIN} == {None}
    assert read.text() == text


@pytest.mark.parametrize(
    "edit",
    [
        ('"clean": true', '"clean": false'),
        ("rank=4", "rank=8"),
        ('"built_for": "dev",\n  ', ""),
        (COMMIT, "a" * 40),
    ],
)
def test_origin_is_sealed(tmp_path: Path, edit: tuple[str, str]) -> None:
    text = release(**KNOWN).text()
    (tmp_path / LOCK).write_text(text)
    assert json.loads(text)["overrides"] == ["tuning.rank=4"]
    assert Release.read(tmp_path / LOCK).text() == text
    assert edit[0] in text
    (tmp_path / LOCK).write_text(text.replace(*edit))
    with pytest.raises(ReleaseError, match="its seal does not match"):
        Release.read(tmp_path / LOCK)


@pytest.mark.parametrize(
    ("changes", "given", "shown"),
    [
        ({}, False, "6f12907 with tuning.rank=4"),
        ({"overrides": []}, True, "6f12907"),
        ({"overrides": [], "clean": False}, False, "6f12907, from a tree with changes"),
        ({"overrides": ["data.train=a b"]}, False, "6f12907 with 'data.train=a b'"),
        ({"clean": False}, False, "6f12907 with tuning.rank=4, from a tree with changes"),
        ({"commit": None, "overrides": []}, False, "files outside of Git"),
        (dict.fromkeys(ORIGIN), None, "6f12907, overrides not recorded"),
        (
            {**dict.fromkeys(ORIGIN), "commit": f"{COMMIT}-dirty"},
            False,
            "6f12907, from a tree with changes, overrides not recorded",
        ),
    ],
)
def test_commit_gives_what_has_no_overrides_and_no_changes(changes: object, given: bool, shown: str) -> None:
    built = release(**{**KNOWN, **dict(changes)})  # type: ignore[call-overload]
    assert built.given is given
    assert built_from(built, 7) == shown


def test_config_digest_is_of_the_specs_in_any_order() -> None:
    specs = {"tune": {"rank": 4}, "read": {"rows": 2}}
    assert config_digest(specs) == config_digest(dict(reversed(specs.items())))
    assert config_digest(specs) != config_digest({**specs, "tune": {"rank": 8}})
