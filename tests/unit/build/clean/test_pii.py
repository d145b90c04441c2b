import random
import time
from collections import Counter

import pytest

from framework.build.clean.personal_data import find
from framework.build.clean.pii import KINDS, Pii


def luhn(digits: str) -> str:
    """Return *digits* with Luhn's check digit, worked out by trying all ten."""

    def total(number: str) -> int:
        doubled = [int(sign) * (1 + odd % 2) for odd, sign in enumerate(reversed(number))]
        return sum(value - 9 if value > 9 else value for value in doubled)

    return next(f"{digits}{check}" for check in range(10) if total(f"{digits}{check}") % 10 == 0)


def cn_id(source: random.Random, right: bool = True) -> str:
    body = f"{source.randrange(110000, 659000)}{source.randrange(1950, 2010)}{source.randrange(1, 13):02}"
    body += f"{source.randrange(1, 29):02}{source.randrange(1000):03}"
    weighted = sum(int(sign) * pow(2, 17 - place, 11) for place, sign in enumerate(body))
    check = (12 - weighted % 11) % 11
    return body + ("X" if (check := check if right else (check + 1) % 11) == 10 else str(check))


def iban(source: random.Random, right: bool = True) -> str:
    account = "".join(str(source.randrange(10)) for _ in range(18))
    check = 98 - int(account + "131400") % 97  # D is 13, E is 14
    number = f"DE{check if right else (check - 1) % 97:02}{account}"
    return (
        " ".join(number[start : start + 4] for start in range(0, 22, 4)) if source.random() < 0.5 else number
    )


def planted(source: random.Random) -> dict[str, str]:
    digits = "".join(str(source.randrange(10)) for _ in range(40))
    letters = "".join(
        source.choice("abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789") for _ in range(40)
    )
    card = luhn(f"4{digits[:14]}")
    return {
        "email": f"{letters[:7]}.{letters[7:12]}@mail.{source.choice(['example.com', 'example.co.uk'])}",
        "card": card
        if source.random() < 0.5
        else "-".join(card[start : start + 4] for start in range(0, 16, 4)),
        "cn_id": cn_id(source),
        "iban": iban(source),
        "ssn": f"{source.randrange(100, 600)}-{source.randrange(10, 99)}-{source.randrange(1000, 9999)}",
        "phone": source.choice(
            [
                f"+49 30 {digits[:8]}",
                f"+1-212-555-{digits[:4]}",
                f"(212) 555-{digits[:4]}",
                f"138{digits[:8]}",
            ]
        ),
        "ip": ".".join(str(source.randrange(20, 100)) for _ in range(4)),
        "secret": source.choice(
            [
                f"ghp_{letters[:36]}",
                f"AKIA{letters[:16].upper()}",
                f"sk-{letters}",
                f"xoxb-{digits[:12]}-{letters[:24]}",
            ]
        ),
    }


def harmless(source: random.Random) -> list[str]:
    digits = "".join(str(source.randrange(10)) for _ in range(40))
    wrong_card = luhn(f"4{digits[:14]}")
    wrong_card = wrong_card[:-1] + str((int(wrong_card[-1]) + 1) % 10)
    return [
        cn_id(source, right=False),
        iban(source, right=False),
        wrong_card,
        f"2026-{source.randrange(1, 13):02}-{source.randrange(1, 29):02}T10:20:30",
        f"version 10.{source.randrange(99)}.3",
        f"${source.randrange(10**6):,}.50",
        "127.0.0.1",
        f"192.168.{source.randrange(256)}.7",
        f"{source.getrandbits(128):032x}",
        f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-a{digits[15:18]}-{digits[18:30]}",  # a UUID
        "@someone, see a@b",
        f"3.1415926535897{digits[:4]}",
        f"ISBN 978-3-16-148410-{digits[0]}",
        "a task-force in twenty-twenty-one",
        f"12:{digits[0]}0:{digits[1]}5 and 3::4",
    ]


def test_planted_values_are_found_and_harmless_ones_are_not() -> None:
    source = random.Random(1)
    hit: Counter[str] = Counter()
    for _ in range(300):
        for kind, value in planted(source).items():
            text = f"Dear all, please note {value}, as agreed. 谢谢"
            hit[kind] += [(one.kind, text[one.start : one.end]) for one in find(text, KINDS)] == [
                (kind, value)
            ]
    assert hit == dict.fromkeys(KINDS, 300)
    wrong = [text for _ in range(300) for text in harmless(source) if find(f"See {text}.", KINDS)]
    assert wrong == []


CHAT = {
    "messages": [
        {"role": "user", "content": "I am ann@example.com or bob@example.com, call +49 30 12345678."},
        {
            "role": "assistant",
            "content": "Noted, ANN@example.com.",
            "tool_calls": [
                {
                    "type": "function",
                    "function": {"name": "mail", "arguments": {"to": ["ann@example.com"], "n": 1}},
                }
            ],
        },
    ]
}


def masked(row: dict) -> list[str]:
    call = row["messages"][1]["tool_calls"][0]["function"]["arguments"]["to"][0]
    return [*(turn["content"] for turn in row["messages"]), call]


def test_values_are_masked_in_both_splits_and_shown_nowhere(clean) -> None:
    cleaned = clean(Pii(), [CHAT, "nothing"], test=[CHAT])
    for split in ("train", "test"):
        assert masked(cleaned.rows(split)[0]) == [
            "I am [EMAIL] or [EMAIL], call [PHONE].",
            "Noted, [EMAIL].",
            "[EMAIL]",
        ]
        assert cleaned.summary[split]["rewritten_by"] == {"pii_email": 1, "pii_phone": 1}
    for file in cleaned.folder.rglob("*"):
        assert not file.is_file() or b"example.com" not in file.read_bytes(), file


def test_pseudonym_is_the_same_throughout_a_conversation(clean) -> None:
    (row, other) = clean(Pii(action="pseudonym"), [CHAT, "bob@example.com"]).rows()
    assert masked(row) == ["I am [EMAIL_1] or [EMAIL_2], call [PHONE_1].", "Noted, [EMAIL_1].", "[EMAIL_1]"]
    assert other == {"text": "[EMAIL_1]"}


def test_hash_is_the_same_in_all_rows_and_depends_on_the_salt(clean) -> None:
    rows = ["ann@example.com", "ANN@example.com"]
    one, two = (clean(Pii(action="hash", salt=salt * 16), rows).texts() for salt in "ab")
    assert one[0] == one[1] != two[0]
    assert one[0].startswith("[EMAIL_")
    assert [problem.key for problem in Pii(action="hash", salt="short").problems()] == ["salt"]


def test_drop_removes_training_rows_and_masks_test_rows(clean) -> None:
    cleaned = clean(Pii(action="drop"), [CHAT, "nothing"], test=[CHAT])
    assert cleaned.gone == [1]
    assert cleaned.removed[0]["reason"] == "email 4, phone 1"
    assert masked(cleaned.rows("test")[0])[1] == "Noted, [EMAIL]."
    assert b"example.com" not in (cleaned.folder / "removed.jsonl").read_bytes()


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "1",
        "1 ",
        "1-",
        "a@",
        "a.",
        "+1",
        "eyJ",
        "eyJ-",
        "-----BEGIN PRIVATE KEY-----",
        "DE00",
        "1:",
        "sk-",
        "@a.",
    ],
)
def test_time_is_linear_in_the_length(unit) -> None:
    text = unit * (200_000 // len(unit))
    started = time.process_time()
    find(text, KINDS)
    assert time.process_time() - started < 2
