"""The pages for people, in a real browser."""

from collections.abc import Iterator

import httpx
import pytest
from browser import Browser, chromium, needs_chromium
from server_process import Served, eventually, serving, stopped

from framework.core import metric_names as metrics

pytestmark = needs_chromium
OPEN = "!document.querySelector('#try').hidden"
ANSWERED = "document.querySelector('.figures')"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as tab:
        yield tab()


def open_page(browser: Browser, served: Served, until: str = OPEN) -> None:
    browser.requested.clear()
    browser.complaints.clear()
    browser.open(f"{served.url}/")
    browser.until(until)


def ask(browser: Browser, text: str) -> None:
    browser.evaluate("document.querySelector('#text').focus()")
    browser.type(text)
    browser.key("Enter", "\r")


def test_prompt_is_answered_and_voted_on(browser, chat) -> None:
    open_page(browser, chat)
    browser.evaluate("document.querySelector('#limit').value = 8")
    ask(browser, "hello world")
    browser.until(ANSWERED)
    figures = browser.text(".figures")
    assert "8 tokens, " in figures
    assert "tokens/s" in figures
    assert browser.text(".turn.answer p")
    good = 'question="completed"', 'answer="yes"'
    before = chat.sample(metrics.FEEDBACK, *good)
    browser.evaluate("document.querySelector('.turn.answer button').click()")
    browser.until("document.querySelector('[aria-pressed=true]')")
    assert chat.sample(metrics.FEEDBACK, *good) == before + 1
    ask(browser, "and now?")
    browser.until("document.querySelectorAll('.figures').length === 2")
    assert browser.complaints == []
    assert all(url.startswith(chat.url) for url in browser.requested)


def test_error_of_the_server_is_shown(browser, chat) -> None:
    open_page(browser, chat)
    ask(browser, "hello " * 1000)
    browser.until("document.querySelector('#problem').textContent")
    assert "max_prompt_characters" in browser.text("#problem")
    assert not browser.evaluate("document.querySelector('#send').disabled")


def test_stop_cancels_the_request(browser, chat) -> None:
    labels = 'code="499"', 'route="/v1/chat/completions"'
    before = chat.sample(metrics.REQUESTS, *labels)
    open_page(browser, chat)
    with stopped(chat):
        ask(browser, "hello world")
        browser.until("!document.querySelector('#stop').disabled")
        browser.evaluate("document.querySelector('#stop').click()")
        browser.until("document.querySelector('#stop').disabled")
        assert eventually(lambda: chat.sample(metrics.REQUESTS, *labels) == before + 1)
    assert browser.text("#problem") == ""
    assert browser.evaluate("document.activeElement.id") == "text"
    ask(browser, " once more")
    browser.until(ANSWERED)


def test_page_fits_and_every_control_has_a_name(browser, chat) -> None:
    open_page(browser, chat)
    ask(browser, "hello world")
    browser.until(ANSWERED)
    backs = set()
    for width in (390, 1280, 1920):
        for dark in (False, True):
            browser.resize(width, dark=dark)
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
            assert browser.evaluate("innerWidth") == width
            backs.add(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(backs) == 2, "light and dark"
    tree = browser.send("Accessibility.getFullAXTree")["nodes"]
    controls = [
        node for node in tree if node["role"]["value"] in ("button", "textbox", "spinbutton", "link", "table")
    ]
    assert len(controls) > 6
    assert all(node["name"]["value"] for node in controls)
    fonts = (
        "new Set([...document.body.querySelectorAll('*')].map(one => getComputedStyle(one).fontFamily)).size"
    )
    assert browser.evaluate(fonts) == 1


def test_keyboard_reaches_what_is_needed(browser, chat) -> None:
    open_page(browser, chat)
    reached = []
    for _ in range(6):
        browser.key("Tab")
        reached.append(browser.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert reached == ["A", "A", "text", "SUMMARY", "send", "clear"]


@pytest.mark.slow
def test_page_asks_for_the_key(browser, tiny_bert, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GITUNE_API_KEY", "s3cret")
    with serving(tiny_bert, "onnxruntime", "sequence-classification", tmp_path) as served:
        assert httpx.get(f"{served.url}/openapi.json").status_code == 401
        open_page(browser, served, "!document.querySelector('#unlock').hidden")
        assert served.url not in browser.text()
        browser.type("wrong")
        browser.key("Enter", "\r")
        browser.until("document.querySelector('#problem').textContent")
        browser.type("s3cret")
        browser.key("Enter", "\r")
        browser.until(OPEN)
        ask(browser, "a good film")
        browser.until(ANSWERED)
        assert browser.evaluate("[...document.querySelectorAll('.scores span')].length") == 6
        assert browser.evaluate("document.querySelectorAll('.chosen').length") == 1
        assert browser.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        browser.open(f"{served.url}/docs")  # the key is kept for the tab
        browser.until("document.querySelector('article')")
        assert "Bearer" in browser.text()


def test_entities_are_marked_by_characters(browser, chat) -> None:
    open_page(browser, chat)
    found = '[{start: 2, end: 6, label: "LOC", text: "Oslo", score: 0.9}]'
    shown = browser.evaluate(
        f'import("/page/classified.js").then(it => it.entities("😀 Oslo <b>", {found}).innerHTML)'
    )
    assert shown == '😀 <mark title="score 0.900">Oslo<small>LOC</small></mark> &lt;b&gt;'


def test_docs_show_every_operation(browser, chat) -> None:
    browser.complaints.clear()
    browser.open(f"{chat.url}/docs")
    browser.until("document.querySelector('article')")
    document = httpx.get(f"{chat.url}/openapi.json").json()
    text = browser.text()
    assert all(path in text for path in document["paths"])
    assert all(name in text for name in document["components"]["schemas"]["ChatRequest"]["properties"])
    assert f"curl -X POST {chat.url}/v1/chat/completions" in text
    browser.resize(390)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    assert browser.complaints == []
