import json
from typing import Any

import pytest
from pydantic import ValidationError

from framework.build.model import Model
from framework.build.tuning import Tuning
from framework.build.tuning.lora import LoRA
from framework.core.component import Component
from framework.core.gates import Bound
from framework.core.source import Source

CHOSEN = {"_target_": "framework.build.tuning.lora.LoRA", "rank": 3}


def kind_of(call) -> str:
    with pytest.raises(ValidationError) as caught:
        call()
    return caught.value.errors()[0]["type"]


def test_target_chooses_the_class():
    chosen = Tuning.model_validate(CHOSEN)
    assert type(chosen) is LoRA
    assert chosen.rank == 3


def test_class_itself_needs_no_target():
    assert LoRA.model_validate({"rank": 3}) == Tuning.model_validate(CHOSEN)


@pytest.mark.parametrize("value", [{}, {"rank": 3}, None, 3, "lora"])
def test_group_without_a_target_has_no_option(value):
    assert kind_of(lambda: Tuning.model_validate(value)) == "no_option"


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("os.path.join", "target_refused"),
        ("frameworkish.X", "target_refused"),
        ("", "target_refused"),
        (None, "target_refused"),
        ("framework.nope.X", "target_missing"),
        ("framework.build.tuning.lora.Nope", "target_missing"),
        ("framework.build.tuning.Tuning", "target_wrong_kind"),
        ("framework.build.model.tiny.TinyCausalLM", "target_wrong_kind"),
        ("framework.core.suggest.nearest", "target_wrong_kind"),
    ],
)
def test_target_must_be_a_concrete_class_of_the_group(target, kind):
    assert kind_of(lambda: Tuning.model_validate({"_target_": target})) == kind


def test_package_is_allowed_by_the_context():
    value = {"_target_": "json.decoder.JSONDecoder"}
    assert kind_of(lambda: Tuning.model_validate(value)) == "target_refused"
    allowed = lambda: Tuning.model_validate(value, context={"plugins": ("json",)})  # noqa: E731
    assert kind_of(allowed) == "target_wrong_kind"


def test_unknown_keys_are_refused():
    assert kind_of(lambda: Tuning.model_validate(CHOSEN | {"rnak": 4})) == "extra_forbidden"


def test_component_is_frozen():
    assert kind_of(lambda: setattr(LoRA(), "rank", 4)) == "frozen_instance"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(value):
    assert kind_of(lambda: LoRA(alpha=value)) == "finite_number"


def test_defaults_are_checked_too():
    class Wrong(Component):
        """A class with a typo."""

        size: int = "large"  # type: ignore[assignment]

    assert kind_of(Wrong) == "int_parsing"


class Nested(Component):
    """Components in every kind of field."""

    tuning: Tuning
    many: tuple[Tuning, ...] = ()
    named: dict[str, Bound] = {}  # noqa: RUF012
    source: Source = Source(url="rows.jsonl")
    nothing: Tuning | None = None


@pytest.fixture
def nested() -> Nested:
    return Nested(
        tuning=LoRA(rank=3, target_modules=("q_proj",)),
        many=(LoRA(rank=4),),
        named={"exact_match": Bound(min=0.5)},
    )


def test_dump_is_json_and_restores_an_equal_component(nested):
    dumped = json.loads(json.dumps(nested.dump()))
    assert dumped["tuning"]["_target_"] == "framework.build.tuning.lora.LoRA"
    assert dumped["many"][0]["rank"] == 4
    del dumped["_target_"]  # the class of this test is not below framework
    assert Nested.model_validate(dumped) == nested


def test_walk_meets_every_component_once(nested):
    assert [type(part).__name__ for part in nested.walk()] == ["Nested", "LoRA", "LoRA", "Bound", "Source"]


def test_every_part_of_a_real_config_survives_a_dump(config: Any):
    for name in ("tiny", "quickstart", "sentiment"):
        whole = config(f"+recipe={name}")
        for part in whole.walk():
            dumped = json.loads(json.dumps(part.dump()))
            assert type(part).model_validate(dumped) == part
    assert Model.model_validate(whole.model.dump()) == whole.model
