from framework.report.cleaning import counts, samples
from framework.report.markdown import markdown
from framework.report.page import page

CLEANED = ("+recipe=tiny", "clean=exact")


def test_each_rule_is_counted_with_the_rows_before_and_after(facts) -> None:
    rows = [[cell.text for cell in row] for row in counts([facts(*CLEANED)]).rows]
    assert rows == [
        ["clean exact", "train", "exact", "removed", "10", "100", "90"],
        ["clean exact", "test", "—", "nothing", "0", "8", "8"],
    ]


def test_ten_samples_show_every_rule(facts) -> None:
    rows = [[cell.text for cell in row] for row in samples([facts(*CLEANED)]).rows]
    assert len(rows) == 10
    assert [row[1] for row in rows[:3]] == ["exact", "other", "exact"]
    assert rows[0][2] == "train.jsonl:7"
    assert rows[0][5] == "(removed)"


def test_rows_are_escaped_and_a_recipe_without_cleaning_says_nothing(facts) -> None:
    shown = page([facts(*CLEANED)])
    assert 'id="cleaning"' in shown
    assert "<script>alert" not in shown
    assert "### Cleaning" in markdown([facts(*CLEANED)])
    plain = facts("+recipe=tiny")
    assert 'id="cleaning"' not in page([plain])
    assert "### Cleaning" not in markdown([plain])


def test_step_of_two_compared_recipes_is_shown_once(facts) -> None:
    both = [facts(*CLEANED, label="one"), facts(*CLEANED, "training.epochs=9", label="two")]
    assert [row[0].text for row in counts(both).rows] == ["one: clean exact"] * 2
