"""The file of API keys: what it accepts, and what becomes of the keys when it changes."""

import asyncio
import json
import os
from pathlib import Path

import pytest
import yaml

from framework.core.errors import ServeError
from framework.serving.access import keys as module
from framework.serving.access.key_file import hash_of, read_keys
from framework.serving.access.keys import Keys
from framework.serving.access.new_key import main
from framework.serving.caller import ANYBODY

FIRST, SECOND = "first-key-ä", "second-key"


def text(*keys: str, **more) -> str:
    entries = [{"name": f"key-{number}", "hash": hash_of(key), **more} for number, key in enumerate(keys)]
    return json.dumps({"keys": entries})


def opened(path: Path, single: str | None = None) -> tuple[Keys, list[str]]:
    results: list[str] = []
    return Keys(single, path, results.append), results


def test_new_key_is_accepted_with_the_entry_that_was_printed(capsys, tmp_path) -> None:
    flags = ["--tokens-per-minute", "500", "--priority", "high", "--expires", "2999-01-31T00:00:00Z"]
    assert main(["--name", "app", *flags]) == 0
    out, err = capsys.readouterr()
    key = out.strip()
    entry = err[err.index("- ") :]
    assert key not in err
    path = tmp_path / "keys.yaml"
    path.write_text("keys:\n" + entry)
    found = opened(path)[0].find(key.encode())
    assert (found.caller().name, found.caller().tokens_per_minute, found.caller().weight) == ("app", 500, 4)
    assert found.caller().requests_per_minute is None
    assert not found.expired()
    assert main(["--name", "App"]) == 2
    assert main(["--name", "app", "--expires", "2027-01-31"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("", "the file"),
        ("keys: [", "neither YAML nor JSON"),
        ("keys: [{name: a}]", "keys.0.hash"),
        ("keys: [{name: a, hash: plain-text-key}]", "keys.0.hash"),
        (text(FIRST, requests_per_minute=0), "keys.0.requests_per_minute"),
        (text(FIRST, tokens_per_minute=1.5), "keys.0.tokens_per_minute"),
        (text(FIRST, priority="urgent"), "keys.0.priority"),
        (text(FIRST, expires="2027-01-31T00:00:00"), "keys.0.expires"),
        (text(FIRST, limit=3), "keys.0.limit"),
        (text(FIRST, FIRST), "two keys have the hash"),
        (text(FIRST, SECOND, name="same"), "two keys have the name"),
        (text(FIRST, name="environment"), "the name 'environment'"),
    ],
)
def test_broken_file_is_reported_with_its_place(content: str, where: str) -> None:
    with pytest.raises(ServeError) as refusal:
        read_keys(Path("keys.yaml"), content.encode())
    assert str(refusal.value).startswith("keys.yaml: ")
    assert where in str(refusal.value)
    assert "framework.serving.access.new_key" in str(refusal.value)
    assert "plain-text-key" not in str(refusal.value)


def test_file_must_be_there_at_the_start(tmp_path) -> None:
    with pytest.raises(ServeError, match="cannot be read"):
        opened(tmp_path / "keys.yaml")


def test_keys_of_file_and_environment_are_found_and_no_other(tmp_path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text(FIRST, SECOND))
    keys, _ = opened(path, single="of-the-environment")
    names = [entry and entry.name for entry in map(keys.find, (FIRST.encode(), b"second-key", b"", b"first"))]
    assert names == ["key-0", "key-1", None, None]
    assert keys.find(b"of-the-environment").caller().tokens_per_minute is None
    assert keys.find(hash_of(FIRST).encode()) is None, "a hash is no key"
    assert keys
    assert not Keys(None, None, print)


def test_expired_key_is_known_and_expired(tmp_path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(
        yaml.safe_dump({"keys": [{"name": "a", "hash": hash_of(FIRST), "expires": "2020-01-01T00:00:00Z"}]})
    )
    assert opened(path)[0].find(FIRST.encode()).expired()


def test_mounted_secret_is_read_again_and_a_broken_one_keeps_the_keys(tmp_path, monkeypatch, caplog) -> None:
    """Kubernetes changes a mounted Secret by renaming a symbolic link to a folder."""

    def mount(name: str, content: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys.yaml").write_text(content)
        os.utime(tmp_path / name / "keys.yaml", (0, 0))  # times tell nothing
        (tmp_path / "new").symlink_to(name)
        (tmp_path / "new").replace(tmp_path / "..data")

    mount("1", text(FIRST))
    (tmp_path / "keys.yaml").symlink_to("..data/keys.yaml")
    keys, results = opened(tmp_path / "keys.yaml")
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)

    async def change() -> None:
        async def until(count: int) -> None:
            while len(results) < count:
                await asyncio.sleep(0.01)

        watch = asyncio.create_task(keys.watch())
        mount("2", text(SECOND))
        await until(1)
        assert keys.find(SECOND.encode())
        assert keys.find(FIRST.encode()) is None
        mount("3", "keys: [{name: broken}]")
        await until(2)
        assert keys.find(SECOND.encode())
        (tmp_path / "..data").unlink()
        await until(3)
        assert keys.find(SECOND.encode())
        mount("4", text(FIRST))
        await until(4)
        assert keys.find(SECOND.encode()) is None
        await asyncio.sleep(0.05)
        watch.cancel()

    asyncio.run(asyncio.wait_for(change(), 20))
    assert results == ["loaded", "refused", "refused", "loaded"], "each change counts once"
    assert "keys.0.hash" in caplog.text


def test_caller_is_found_by_name_while_its_key_is_accepted(tmp_path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text(FIRST, tokens_per_minute=5))
    keys, _ = opened(path)
    assert keys.caller_named("key-0").tokens_per_minute == 5
    assert keys.caller_named("key-1") is None
    keys.renew(text(FIRST, expires="2001-01-01T00:00:00Z").encode())
    assert keys.caller_named("key-0") is None
    assert opened(None)[0].caller_named("") == ANYBODY
