import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from framework.report.markdown import markdown
from framework.report.page import file_name, page
from framework.report.tables import candidate_tables, data, pool

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Read(HTMLParser):
    """A parsed page: elements with attributes, text, and elements that were not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & {*self.open}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def read(facts):
    return lambda *words, **more: Read(page([facts(*words, **more)]))


def test_page_is_self_contained_and_well_formed(facts):
    text = page([facts("+recipe=tiny", quality={"tuned": 0.75})])
    document = Read(text)
    assert document.open == []
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & {
        tag for tag, _ in document.elements
    }
    for tag, given in document.elements:
        assert not [name for name in given if name.startswith("on") or name in ("src", "srcset", "style")]
        assert (given.get("href") or "#").startswith("#"), tag
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)[0]
    assert "url(" not in style
    assert "@import" not in style
    assert re.findall(r"https?://[^\s\"<]+", text.replace('xmlns="http://www.w3.org/2000/svg"', "")) == []
    assert "viewport" in text


def test_row_content_is_escaped(facts, nasty):
    chosen = facts("+recipe=tiny", quality={"tuned": 0.75})
    text = page([chosen])
    assert "<script" not in text
    assert "<b>random" not in text
    assert "<lm_head>" not in text
    assert "\x05" not in text
    shown = " ".join(nasty.replace("\x05", "").split())
    assert f"tuned says {shown}" in Read(text).text
    lines = markdown([chosen])
    assert "<script" not in lines
    assert "](javascript" not in lines
    assert "\x05" not in lines
    (line,) = (line for line in lines.splitlines() if "tuned says" in line)
    assert line.startswith("  - tuned: tuned says &#60;script>")


def test_gates_show_bound_value_and_verdict(read):
    words = ("+recipe=tiny", "gates.int4.exact_match.min=0.25", "gates.fp32.agreement.min=0.999")
    quality = {"tuned": 0.75, "int4": 0.3}
    document = read(*words, quality=quality, without=("gate export", "publish"))
    assert "tuned.exact_match passed 0.75 >= 0.5 quality" in document.text
    assert "int4.exact_match passed 0.3 >= 0.25 export" in document.text
    assert "fp32.agreement FAILED 0.995 >= 0.999 export" in document.text
    assert "int4.agreement passed 0.995 >= 0.9 export" in document.text
    assert "fp32.max_difference passed 0.001 <= 0.01 export" in document.text


def test_compressed_candidate_that_misses_a_bare_gate_is_not_released(facts):
    words = ("+recipe=tiny", "gates.exact_match.min=0.95")
    failing = facts(*words, quality={"tuned": 1.0, "int4": 0.704}, without=("gate export", "publish"))
    verdicts = {verdict.metric: (verdict.gate, verdict.passed) for verdict in failing.verdicts}
    assert verdicts["tuned.exact_match"] == ("gate quality", True)
    assert verdicts["int4.exact_match"] == ("gate export", False)
    text = Read(page([failing])).text
    assert "Nothing is released: gate export stopped the plan, because int4.exact_match is 0.704" in text
    (quality, *_) = candidate_tables([failing], pool([failing]))
    row = next(row for row in quality.rows if row[0].text == "int4")  # not "(released)"
    assert row[quality.head.index("exact match")].text == "70.4%"
    assert row[quality.head.index("loss vs tuned")].text == "29.6%"
    assert "of exact match, relative" in quality.note
    none_right = [replace(each, metrics={**each.metrics, "exact_match": 0.0}) for each in failing.candidates]
    unmatched = replace(failing, candidates=none_right)
    assert "of answer perplexity, relative" in candidate_tables([unmatched], pool([unmatched]))[0].note


def test_page_is_accessible_to_screen_readers(read):
    document = read("+recipe=tiny", quality={"tuned": 0.75, "int4": 0.7})
    identities = Counter(given["id"] for _, given in document.elements if "id" in given)
    assert set(identities.values()) == {1}
    for tag, given in document.elements:
        if tag == "th":
            assert given.get("scope") in ("col", "row")
        if tag == "svg":
            assert given.get("aria-hidden") or all(
                name in identities for name in (given["aria-labelledby"] or "").split()
            )
        if (given.get("href") or "").startswith("#"):
            assert (given["href"] or "")[1:] in identities
    tags = Counter(tag for tag, _ in document.elements)
    assert tags["table"] == tags["caption"] >= 6
    assert tags["svg"] == 4  # quality against speed and size, loss and learning rate
    assert tags["h1"] == 1


def test_origin_is_shown(read):
    text = read("+recipe=tiny", quality={"tuned": 0.75}).text
    assert "built from c0ffee with tuning.rank=4, from a tree with changes" in text
    assert "encode train 1,234 56,789 2 sha256:" in text
    assert "tune 61.5 s 1.07 GB" in text


def test_price_yields_the_cost_of_tokens(read):
    price = "environment.hardware.price_per_hour=3.6"
    assert "cost per million tokens" in read("+recipe=tiny", price, quality={"tuned": 0.75}).text
    assert "cost per" not in read("+recipe=tiny", quality={"tuned": 0.75}).text


def test_stopped_plan_shows_the_reason(read):
    behind = ("gate quality", "export fp32", "compress int4", "evaluate int4", "parity", "benchmark")
    text = read("+recipe=tiny", quality={"tuned": 0.2}, without=(*behind, "gate export", "publish")).text
    assert (
        "Nothing is released: gate quality stopped the plan, because tuned.exact_match is 0.2, "
        "the bound is >= 0.5."
    ) in text
    assert "export fp32 not built" in text


def test_phases_have_forgetting_tables_and_curves(read):
    document = read("+recipe=finance-three-phase", quality={"tuned": 0.75})
    assert "on general on domain on task" in document.text
    for phase in ("general", "domain", "task"):
        assert f"tune {phase}: loss" in document.text
    assert sum(tag == "svg" for tag, _ in document.elements) == 8


def test_several_recipes_share_what_is_the_same(facts):
    quality = {"tuned": 0.75, "int4": 0.7}
    one = facts("+recipe=tiny", quality=quality, label="one")
    two = facts("+recipe=tiny", "compression=none", quality=quality, label="two")
    three = facts("+recipe=tiny", "training.epochs=9", quality={"tuned": 0.6}, label="three")
    document = Read(page([one, two, three]))
    assert "3 recipes compared" in document.text
    assert "Differences between the recipes group one two three" in document.text
    assert "training" in document.text
    rows = [
        word
        for word in document.words
        if word.strip() in ("base", "one: tuned", "three: tuned", "two: tuned")
    ]
    assert Counter(map(str.strip, rows))["two: tuned"] == 0  # it is the very model of one
    assert {"one: tuned", "three: tuned", "base"} <= {row.strip() for row in rows}
    assert "one int4 is released" in document.text
    assert "two fp32 is released" in document.text
    text = markdown([one, two, three])
    assert "**three** " in text
    assert file_name([one, two, three]) == "compare-tiny"


def test_metrics_of_a_shared_model_are_merged(facts):
    one = facts("+recipe=tiny", quality={"tuned": 0.75, "int4": 0.7}, label="one")
    two = facts("+recipe=tiny", "compression=none", quality={"tuned": 0.75, "fp32": 0.6}, label="two")
    (fp32,) = [each for each in pool([one, two]).candidates if each.name == "fp32"]
    assert fp32.metrics["exact_match"] == 0.6


def test_equal_facts_give_equal_bytes(facts):
    chosen = [facts("+recipe=tiny", quality={"tuned": 0.75}) for _ in range(2)]
    assert page(chosen[:1]) == page(chosen[1:])
    assert markdown(chosen[:1]) == markdown(chosen[1:])


def test_markdown_tables_have_equal_columns(facts):
    lines = markdown([facts("+recipe=tiny", quality={"tuned": 0.75})]).splitlines()
    for before, line in pairwise(lines):
        if line.startswith("|") and before.startswith("|"):
            assert line.count("|") == before.count("|")
    assert "| tuned.exact_match | passed | 0.75 | >= 0.5 | quality |" in lines


def test_compression_decisions_are_listed(read):
    assert "compress int4 kept_in_float: <lm_head>" in read("+recipe=tiny", quality={"tuned": 0.75}).text


def test_learned_test_rows_and_unlearned_classes_are_noted(facts):
    recipe = facts("+recipe=tiny")
    ((step, counted),) = recipe.rows
    shared = {**counted["test"], "in_train": 7}
    learned = {**counted["train"], "labels": {"good": 9, "bad": 0}}
    assert data([recipe]).note == ""
    noted = data([replace(recipe, rows=[(step, {"train": learned, "test": shared})])])
    assert "7 test rows" in noted.note
    assert "bad" in noted.note
    assert "good" not in noted.note


def test_short_answers_stand_in_a_table(facts):
    import dataclasses

    from framework.report.facts import Example

    answers = (("base", "no"), ("tuned", "yes"))
    chosen = dataclasses.replace(
        facts("+recipe=tiny", quality={"tuned": 0.75}), examples=[Example("is it?", "yes", answers)]
    )
    text = page([chosen])
    assert re.search(
        r'>is it\?</th>\s*<td class="word ">yes</td><td class="word ">no</td>', text.replace("\n", "")
    )
    assert '<td class="word passed">yes</td>' in text
    assert "<article" not in text
