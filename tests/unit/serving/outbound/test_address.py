import pytest
from pydantic import TypeAdapter, ValidationError

from framework.core.errors import ServeError
from framework.serving.outbound.address import Address, resolve

ADDRESS = TypeAdapter(Address)


@pytest.mark.parametrize(
    "value", ["redis://cache:6379/0", "rediss://[::1]", "https://models.example.com/v1", "GITUNE_REDIS_URL"]
)
def test_urls_and_variables_are_addresses(value):
    assert ADDRESS.validate_python(value) == value


@pytest.mark.parametrize("value", ["", "cache:6379", "redis://", "ftp://x", "redis://x:0", "redis://x:y"])
def test_others_are_not(value):
    with pytest.raises(ValidationError) as error:
        ADDRESS.validate_python(value)
    assert error.value.errors()[0]["type"] == "address"


@pytest.mark.parametrize("value", ["redis://:secret@cache", "https://user@models.example.com"])
def test_recipes_hold_no_passwords(value):
    with pytest.raises(ValidationError) as error:
        ADDRESS.validate_python(value)
    assert error.value.errors()[0]["type"] == "address_password"
    assert "secret" not in error.value.errors()[0]["msg"]


def test_variable_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("SOME_URL", " redis://:secret@cache\n")
    assert resolve("SOME_URL", "serving.cache.redis") == "redis://:secret@cache"
    assert resolve("redis://cache", "serving.cache.redis") == "redis://cache"
    monkeypatch.setenv("SOME_URL", " ")
    with pytest.raises(ServeError, match=r"^serving\.cache\.redis: .*SOME_URL"):
        resolve("SOME_URL", "serving.cache.redis")
