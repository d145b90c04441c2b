import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from framework.report.markdown import markdown
from framework.report.page import file_name, page
from framework.report.tables import pool

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Read(HTMLParser):
    """What a browser would see: elements, their attributes, the text, and whether all were closed."""

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


def test_the_page_needs_nothing_else_and_is_well_formed(facts):
    text = page([facts("+recipe=tiny", quality={"tuned": 0.75})])
    found = Read(text)
    assert found.open == []
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & {
        tag for tag, _ in found.elements
    }
    for tag, given in found.elements:
        assert not [name for name in given if name.startswith("on") or name in ("src", "srcset", "style")]
        assert (given.get("href") or "#").startswith("#"), tag
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)[0]
    assert "url(" not in style
    assert "@import" not in style
    assert re.findall(r"https?://[^\s\"<]+", text.replace('xmlns="http://www.w3.org/2000/svg"', "")) == []
    assert "viewport" in text


def test_whatever_comes_from_rows_is_shown_and_not_obeyed(facts, nasty):
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


def test_every_gate_is_shown_with_bound_value_and_verdict(read):
    words = ("+recipe=tiny", "gates.int4.exact_match.min=0.25", "gates.int4.perplexity.max=0.2")
    quality = {"tuned": 0.75, "int4": 0.3}
    found = read(*words, quality=quality, without=("gate export", "publish"))
    assert "tuned.exact_match passed 0.75 >= 0.5 quality" in found.text
    assert "int4.exact_match passed 0.3 >= 0.25 export" in found.text
    assert "int4.perplexity FAILED 0.3 <= 0.2 export" in found.text
    assert "int4.agreement passed 0.995 >= 0.9 export" in found.text
    assert "fp32.max_difference passed 0.001 <= 0.01 export" in found.text


def test_a_reader_without_eyes_finds_headers_titles_and_unique_anchors(read):
    found = read("+recipe=tiny", quality={"tuned": 0.75, "int4": 0.7})
    identities = Counter(given["id"] for _, given in found.elements if "id" in given)
    assert set(identities.values()) == {1}
    for tag, given in found.elements:
        if tag == "th":
            assert given.get("scope") in ("col", "row")
        if tag == "svg":
            assert given.get("aria-hidden") or all(
                name in identities for name in (given["aria-labelledby"] or "").split()
            )
        if (given.get("href") or "").startswith("#"):
            assert (given["href"] or "")[1:] in identities
    tags = Counter(tag for tag, _ in found.elements)
    assert tags["table"] == tags["caption"] >= 6
    assert tags["svg"] == 4  # quality against speed and size, loss and learning rate
    assert tags["h1"] == 1


def test_where_it_is_from_is_told(read):
    text = read("+recipe=tiny", quality={"tuned": 0.75}).text
    assert "commit c0ffee-dirty" in text
    assert "encode train 1,234 56,789 2 sha256:" in text
    assert "tune 61.5 s 1.07 GB" in text


def test_a_price_gives_the_cost_of_tokens(read):
    price = "environment.hardware.price_per_hour=3.6"
    assert "cost of a million tokens" in read("+recipe=tiny", price, quality={"tuned": 0.75}).text
    assert "cost of" not in read("+recipe=tiny", quality={"tuned": 0.75}).text


def test_a_stopped_plan_says_why(read):
    behind = ("gate quality", "export fp32", "compress int4", "evaluate int4", "parity", "benchmark")
    text = read("+recipe=tiny", quality={"tuned": 0.2}, without=(*behind, "gate export", "publish")).text
    assert (
        "Nothing is released: gate quality stopped the plan, because tuned.exact_match is 0.2, "
        "the bound is >= 0.5."
    ) in text
    assert "export fp32 not built" in text


def test_phases_show_what_was_forgotten_and_a_curve_each(read):
    found = read("+recipe=finance-three-phase", quality={"tuned": 0.75})
    assert "on general on domain on task" in found.text
    for phase in ("general", "domain", "task"):
        assert f"tune {phase}: loss" in found.text
    assert sum(tag == "svg" for tag, _ in found.elements) == 8


def test_several_recipes_share_what_is_the_same(facts):
    quality = {"tuned": 0.75, "int4": 0.7}
    one = facts("+recipe=tiny", quality=quality, label="one")
    two = facts("+recipe=tiny", "compression=none", quality=quality, label="two")
    three = facts("+recipe=tiny", "training.epochs=9", quality={"tuned": 0.6}, label="three")
    found = Read(page([one, two, three]))
    assert "3 recipes compared" in found.text
    assert "What the recipes do differently group one two three" in found.text
    assert "training" in found.text
    rows = [
        word for word in found.words if word.strip() in ("base", "one: tuned", "three: tuned", "two: tuned")
    ]
    assert Counter(map(str.strip, rows))["two: tuned"] == 0  # it is the very model of one
    assert {"one: tuned", "three: tuned", "base"} <= {row.strip() for row in rows}
    assert "one int4 is released" in found.text
    assert "two fp32 is released" in found.text
    text = markdown([one, two, three])
    assert "**three** " in text
    assert file_name([one, two, three]) == "compare-tiny"


def test_what_one_recipe_measured_of_a_model_counts_where_another_did_not(facts):
    one = facts("+recipe=tiny", quality={"tuned": 0.75, "int4": 0.7}, label="one")
    two = facts("+recipe=tiny", "compression=none", quality={"tuned": 0.75, "fp32": 0.6}, label="two")
    (fp32,) = [each for each in pool([one, two]).candidates if each.name == "fp32"]
    assert fp32.metrics["exact_match"] == 0.6


def test_equal_facts_give_equal_bytes(facts):
    chosen = [facts("+recipe=tiny", quality={"tuned": 0.75}) for _ in range(2)]
    assert page(chosen[:1]) == page(chosen[1:])
    assert markdown(chosen[:1]) == markdown(chosen[1:])


def test_the_texts_tables_are_whole(facts):
    lines = markdown([facts("+recipe=tiny", quality={"tuned": 0.75})]).splitlines()
    for before, line in pairwise(lines):
        if line.startswith("|") and before.startswith("|"):
            assert line.count("|") == before.count("|")
    assert "| tuned.exact_match | passed | 0.75 | >= 0.5 | quality |" in lines


def test_what_compression_decided_is_listed(read):
    assert "compress int4 kept_in_float: <lm_head>" in read("+recipe=tiny", quality={"tuned": 0.75}).text


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
