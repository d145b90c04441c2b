"""What a release's evidence says, judged by the formats' own validator, without a build."""

import json
from pathlib import Path

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from framework.core.evidence import BILL, CARD, PROVENANCE
from framework.core.filesystem import sha256_of
from framework.core.paths import SHARE
from framework.core.release import Release
from framework.plan.build import make_plan
from framework.report.evidence import evidence
from framework.report.materials import gather_materials

TINY = Release.read(Path(__file__).parents[2] / "golden" / "tiny.lock")
MEASURED = {
    "candidate": "int4",
    "metrics": {
        **{"base.exact_match": 0.125, "tuned.exact_match": 0.75, "int4.exact_match": 0.625},
        **{"fp32.exact_match": 0.1875, "int4.decode_tokens_per_second": 34148.3},
    },
    "gates": {"int4.exact_match": ">= 0.5", "tuned.exact_match": ">= 0.6"},
}
WORKFLOW = "https://github.com/a/b/.github/workflows/train.yml@refs/heads/main"


@pytest.fixture
def files(config):
    """The evidence of the release of some words; *update* changes its lock."""

    def make(*words, builder=None, **update):
        chosen = config(*words)
        materials = gather_materials(chosen, make_plan(chosen, "test"))
        return evidence(TINY.model_copy(update=update), materials, builder)

    return make


def header(card):
    return yaml.safe_load(card.split("---\n")[1])


def section(card, heading):
    return card.split(f"## {heading}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    "words",
    [
        ("+recipe=tiny",),
        ("+recipe=tiny", "model.license=llama3.1", "data.license=CC-BY-SA-4.0"),
        ("+recipe=tiny", "model.license=''", "data.license=unknown"),
        ("+recipe=finance-three-phase",),
        ("+recipe=tiny", "model=qwen2.5-0.5b"),
        ("+recipe=tiny", "data=sotu", "data.max_length=64"),
    ],
)
def test_bill_passes_the_strict_validator(words, files):
    bill = files(*words, **MEASURED)[BILL]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    broken = bill.replace('"machine-learning-model"', '"machine"')
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken) is not None


def test_bill_has_the_models_the_data_and_the_libraries(files):
    bill = json.loads(files("+recipe=sentiment", **MEASURED)[BILL])
    parts = {part["bom-ref"]: part for part in bill["components"]}
    released = bill["metadata"]["component"]
    assert (released["type"], released["name"]) == ("machine-learning-model", "tiny")
    assert released["hashes"] == [{"alg": "SHA-256", "content": "1" * 64}]
    assert released["pedigree"]["ancestors"][0]["name"] == "all-MiniLM-L6-v2"
    measured = released["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {item["type"]: item["value"] for item in measured} == {
        "exact_match": "0.625",
        "decode_tokens_per_second": "34148.3",
    }
    assert parts["base-model"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert parts["base-model"]["hashes"][0]["content"].startswith("04b1622b")
    assert parts["data-0"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert parts["data-0"]["hashes"][0]["content"].startswith("d5bb07d8")
    assert {"torch", "transformers"} <= {part["name"] for part in parts.values() if part["type"] == "library"}
    assert {*bill["dependencies"][0]["dependsOn"]} == {*parts}


def test_revision_of_the_hub_is_the_components_version(files):
    url = f"hf://Qwen/Qwen2.5-0.5B-Instruct@{'a' * 40}"
    made = files("+recipe=tiny", "model=qwen2.5-0.5b", f"model.source={url}")
    base = next(part for part in json.loads(made[BILL])["components"] if part["bom-ref"] == "base-model")
    assert base["version"] == "a" * 40
    dependencies = json.loads(made[PROVENANCE])["predicate"]["buildDefinition"]["resolvedDependencies"]
    model = next(item for item in dependencies if item["name"] == "base model")
    assert (model["uri"], model["digest"]) == (url, {"gitCommit": "a" * 40})
    assert header(made[CARD])["base_model"] == "Qwen/Qwen2.5-0.5B-Instruct"


def test_statement_has_the_fields_of_in_toto_and_slsa(files):
    update = {"overrides": ("tuning.rank=4",), "clean": False}
    statement = json.loads(files("+recipe=tiny", builder=WORKFLOW, **update)[PROVENANCE])
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert [subject["digest"] for subject in statement["subject"]] == [{"sha256": "1" * 64}]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["buildType"].startswith("https://")
    assert definition["externalParameters"]["overrides"] == ["tuning.rank=4"]
    assert definition["internalParameters"]["steps"] == TINY.steps
    assert statement["predicate"]["runDetails"]["builder"]["id"] == WORKFLOW
    dependencies = definition["resolvedDependencies"]
    assert all({"uri", "digest"} & item.keys() for item in dependencies)
    source = next(item for item in dependencies if item["name"] == "source")
    assert (source["digest"], source["annotations"]) == ({"gitCommit": TINY.commit}, {"clean": False})
    rows = SHARE / "recipes/data/tiny/train.jsonl"
    assert {"sha256": sha256_of(rows)} in [item.get("digest") for item in dependencies]


def test_card_shows_base_tuned_and_released_with_their_bounds(files):
    card = files("+recipe=tiny", **MEASURED)[CARD]
    assert header(card)["license"] == "apache-2.0"
    assert header(card)["metrics"] == ["exact_match", "decode_tokens_per_second"]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in section(card, "Evaluation").splitlines()
    ]
    assert ["exact match", "12.5%", "75.0%", "62.5%", "tuned >= 0.6, int4 >= 0.5"] in rows
    assert ["decode tokens/s", "-", "-", "34,100", "none"] in rows
    assert "18.8%" not in card  # of a candidate that is not released


def test_card_says_unknown_where_nobody_stated_it(files):
    update = {"clean": None, "overrides": None, "metrics": {}, "gates": {}}
    card = files("+recipe=tiny", "model.license=unknown", "data.license=null", **update)[CARD]
    assert header(card)["license"] == "unknown"
    chain = section(card, "License chain").strip().splitlines()
    assert [line.rpartition(": ")[2] for line in chain[:3]] == ["unknown"] * 3
    assert "- overrides: unknown" in section(card, "Training")
    assert "|" not in section(card, "Evaluation")


def test_license_that_hubs_do_not_list_has_its_name(files):
    card = files("+recipe=tiny", "model.license=acme research license")[CARD]
    assert header(card)["license"] == "other"
    assert header(card)["license_name"] == "acme research license"


def test_license_of_a_part_is_that_of_its_rows(files, team):
    defaults = (
        "[tiny, {/data@data.parts.a.data: tiny}, {/data@data.parts.b.data: factbook}, {override /data: mix}]"
    )
    parts = "{a: {data: {license: MIT}}, b: {data: {license: null}}}"
    team("recipes/mixed.yaml", f"defaults: {defaults}\ndata: {{license: CC-BY-4.0, parts: {parts}}}\n")
    rows = section(files("+recipe=mixed")[CARD], "Data").splitlines()
    license_of = {row.split("|")[1].strip(): row.split("|")[3].strip() for row in rows if row.count("|") == 4}
    assert license_of["recipes/data/tiny/train.jsonl"] == "MIT"
    assert license_of["recipes/data/factbook/train.jsonl"] == "CC-BY-4.0"


def test_equal_releases_have_equal_evidence(files):
    assert files("+recipe=tiny") == files("+recipe=tiny")
    assert files("+recipe=tiny")[BILL] != files("+recipe=tiny", commit="f" * 40)[BILL]
