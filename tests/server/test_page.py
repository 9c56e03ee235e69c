"""The page: its files as they are served, and in a real browser what a person does with it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flashling.server import page

from . import conftest, fake

SCRIPTS = {p: b.decode() for p, (b, kind) in page.files().items() if "javascript" in kind}
MARKUP = {p: b.decode() for p, (b, kind) in page.files().items() if "html" in kind}


def test_it_fits_and_every_file_has_a_type() -> None:
    assert sum(len(body) for body, _ in page.files().values()) < 200_000
    assert page.files()["/"][1].startswith("text/html")
    assert all(kind and body for body, kind in page.files().values())
    assert not [p for p in page.files() if not re.fullmatch(r"/|/page/[a-z]+\.[a-z]+", p)]
    assert page.files() is page.files()


def test_what_it_names_is_served() -> None:
    for text in MARKUP.values():
        for name in re.findall(r'(?:src|href)="([^"]+)"', text):
            assert name in page.files()
    for text in SCRIPTS.values():
        for name in re.findall(r'from "\./([^"]+)"', text):
            assert f"/page/{name}" in page.files()


def test_nothing_comes_from_elsewhere() -> None:
    # names of XML's languages are no addresses
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML"}
    for path, (body, _) in page.files().items():
        found = set(re.findall(r"https?://[\w.]+[^\s\"'`]*", body.decode())) - names
        assert not found, path
        assert not re.search(r'url\((?!"/page/)', body.decode()), path


def test_no_script_or_style_is_inline() -> None:
    for text in MARKUP.values():
        assert not re.search(r"<style|\sstyle=|\son\w+=", text)
        assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    for path, text in SCRIPTS.items():
        assert not re.search(sinks, text), path
        # a generated page is shown in the preview alone
        assert ("srcdoc" in text) == (path == page.PREVIEW_SCRIPT), path


def test_files_are_small() -> None:
    for path, text in SCRIPTS.items():
        assert text.count("\n") <= 300, path


def test_policies() -> None:
    for path in page.files():
        told = page.headers(path)["content-security-policy"]
        assert told.count("default-src 'none'") == 1
        assert "http" not in told and "*" not in told
        assert ("unsafe-inline" in told) == (path == page.PREVIEW)
    assert "sandbox allow-scripts;" in page.headers(page.PREVIEW)["content-security-policy"]
    assert "connect-src" not in page.headers(page.PREVIEW)["content-security-policy"]


def test_both_languages_say_everything() -> None:
    words = SCRIPTS["/page/words.js"]
    english, chinese = words.split("export const")[0].split("const ZH")
    keys = r"(?:^|[ {,])(\w+): \""
    assert set(re.findall(keys, english)) == set(re.findall(keys, chinese))
    used = {k for text in SCRIPTS.values() for k in re.findall(r"\bt\(\"(\w+)\"", text)}
    assert used <= set(re.findall(keys, english))


# what follows needs a browser, which the project does not install

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
browsing = pytest.mark.clients


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with sync.sync_playwright() as play:
        running = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def server() -> Iterator[fake.Fake]:
    running = fake.Fake()
    yield running
    running.shutdown()
    running.server_close()


class Visit:
    """A tab on the fake server; at the end nothing may have been said on the console."""

    def __init__(self, browser: Any, server: fake.Fake, **options: Any) -> None:
        options = {"viewport": {"width": 1440, "height": 900}, "locale": "en-US", **options}
        self.context = browser.new_context(**options)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(8000)
        self.server, self.said = server, []
        self.foreign: list[str] = []
        self.tab.on("console", lambda m: self.said.append(m.text) if m.type == "error" else None)
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("request", self.note)
        self.tab.goto(server.base)
        self.tab.wait_for_selector(".welcome")

    def note(self, request: Any) -> None:
        if not request.url.startswith((self.server.base, "about:", "blob:")):
            self.foreign.append(request.url)

    def ask(self, text: str, wait: bool = True) -> None:
        self.tab.fill("#write", text)
        self.tab.keyboard.press("Enter")
        if wait:
            self.stand()

    def stand(self) -> None:
        self.tab.wait_for_selector(".answer:last-child:not(.running)")

    def text(self, selector: str) -> str:
        return self.tab.locator(selector).last.inner_text()

    def set(self, name: str, value: str) -> None:
        """Put a setting of the chat without the sheet."""
        self.tab.click(".chip")
        self.tab.locator(f"#settings textarea[aria-label='{name}']").fill(value)
        self.tab.keyboard.press("Escape")

    def close(self) -> None:
        self.context.close()
        assert not self.said
        assert not self.foreign


@pytest.fixture
def visit(browser: Any, server: fake.Fake) -> Iterator[Visit]:
    running = Visit(browser, server)
    yield running
    running.close()


@browsing
def test_an_answer_is_markdown_with_its_costs(visit: Visit) -> None:
    visit.ask("linear attention, please")
    assert visit.text(".prose h3") == "What changes"
    assert visit.tab.locator(".prose ol > li").count() == 2
    assert visit.tab.locator(".prose ol ul > li").count() == 2
    assert visit.tab.locator(".prose td.right").count() == 4
    assert visit.tab.locator(".prose math").count() == 1
    assert visit.text(".code-word") == "return"
    assert "\n    state = decay * state" in visit.text(".code pre")
    link = visit.tab.locator(".prose a")
    assert link.get_attribute("rel") == "noopener noreferrer nofollow"
    costs = visit.text(".margin").split()
    assert "114" in costs and "cached" in costs and "first" in costs
    body = visit.server.asked[0]
    assert body["stream"] and body["stream_options"] == {"include_usage": True}
    assert body["model"] == "ling-nano" and "temperature" not in body


@browsing
def test_what_a_model_says_is_never_markup(visit: Visit) -> None:
    visit.ask("something evil")
    assert visit.text(".prose").startswith("<img src=x onerror=alert(1)>")
    assert visit.tab.locator(".prose img").count() == 0
    assert visit.tab.locator(".prose a").count() == 1
    assert visit.text(".prose a") == "pic"


HOSTILE = {
    "marks": ["*", "**a ", "_a ", "`", "``a", "[", "[a](", "![", "$", "$$a", "\\(", "~~a", "<http"],
    "blocks": ["> ", ">", "- ", "1. ", "# ", "#", "|", "|-", "    ", "```\n", "\n- a\n  "],
    "code": ['"', "a:", "a-a:", ".a", "/*", "<a ", "<script>", "=>", "0x", "#", "'", "{"],
}


@browsing
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_quick(visit: Visit, kind: str) -> None:
    ask = """async ([piece, kind]) => {
        const { Markdown } = await import('/page/markdown.js');
        const { highlight } = await import('/page/highlight.js');
        const start = performance.now();
        for (const size of [5900, 50000]) {
            const text = piece.repeat(size / piece.length);
            if (kind === 'code') {
                for (const name of ['js', 'css', 'html', 'json', 'py', 'sh', 'sql', 'c'])
                    if (highlight(text, name).textContent !== text) throw Error(name);
            } else new Markdown(document.createElement('div'), () => new Text('')).show(text);
        }
        return performance.now() - start;
    }"""
    for piece in HOSTILE[kind]:
        assert visit.tab.evaluate(ask, [piece, kind]) < 1500, piece


@browsing
def test_markdown_by_parts(visit: Visit) -> None:
    ask = """async (text) => {
        const { Markdown } = await import('/page/markdown.js');
        const root = document.createElement('div');
        new Markdown(root, (part) => {
            const pre = document.createElement('pre');
            pre.title = part.language;
            pre.textContent = part.text;
            return pre;
        }).show(text);
        return root.innerHTML;
    }"""
    link = '<a href="https://a.org/x_(y)" target="_blank" rel="noopener noreferrer nofollow">'
    cases = {
        "a **b *c* d** `e*f*`": "<p>a <strong>b <em>c</em> d</strong> <code>e*f*</code></p>",
        "snake_case_name 2*3*4": "<p>snake_case_name 2<em>3</em>4</p>",
        "## A # b ##": "<h3>A # b</h3>",
        "3. a\n4. b": '<ol start="3"><li><span>a</span></li><li><span>b</span></li></ol>',
        "- a\n\n  ```py\n  x\n  ```": '<ul><li><span>a</span><pre title="py">x</pre></li></ul>',
        "> a\n> b": "<blockquote><p>a<br>b</p></blockquote>",
        "~~~\n<b>\n~~~\nafter": '<pre title="">&lt;b&gt;</pre><p>after</p>',
        "[x](https://a.org/x_(y))。": f"<p>{link}x</a>。</p>",
        "[x](javascript:y) <b>": "<p><span>x</span> &lt;b&gt;</p>",
        "costs $5 and $6": "<p>costs $5 and $6</p>",
        "a \\* b": "<p>a * b</p>",
        "open ```": "<p>open ```</p>",
        "---": "<hr>",
    }
    for text, markup in cases.items():
        assert visit.tab.evaluate(ask, text) == markup, text


@browsing
def test_stop_by_key_and_by_button(visit: Visit) -> None:
    for stop in ("Escape", ""):
        visit.ask("slow", wait=False)
        visit.tab.wait_for_selector(".answer:last-child .prose p")
        assert visit.server.streams == 1
        if stop:
            visit.tab.keyboard.press(stop)
        else:
            visit.tab.click(".send.stops")
        visit.stand()
        assert visit.text(".notice") == "Stopped."
        assert 0 < len(visit.text(".prose")) < 3000
        visit.tab.wait_for_timeout(200)
        assert visit.server.streams == 0


@browsing
def test_reload_keeps_the_conversation(visit: Visit) -> None:
    visit.ask("hello")
    visit.ask("for a while", wait=False)
    visit.tab.wait_for_selector(".answer:last-child .prose p")
    visit.tab.reload()
    visit.tab.wait_for_selector(".answer")
    assert visit.tab.locator(".answer .prose").first.inner_text() == fake.PLAIN
    # the answer that was running goes on where it stood, and from elsewhere too
    visit.tab.keyboard.press("Control+k")
    visit.tab.wait_for_selector(".welcome")
    visit.tab.reload()
    visit.tab.wait_for_selector("#side a.busy")
    visit.tab.click("#side li a")
    visit.stand()
    assert visit.text(".prose") == ("again and " * 80).strip()
    assert visit.tab.locator(".notice:visible").count() == 0
    assert len(visit.server.asked) == 2 and visit.tab.locator("#side li").count() == 1


@browsing
def test_a_lost_connection_is_taken_up(browser: Any, server: fake.Fake) -> None:
    visit = Visit(browser, server)
    server.is_down = True
    visit.ask("drop linear attention", wait=False)
    visit.tab.wait_for_selector(".notice.lost")
    visit.tab.wait_for_timeout(700)
    assert visit.tab.locator(".answer.running").count() == 1
    server.is_down = False
    visit.stand()
    assert visit.text(".prose h3") == "What changes"
    assert visit.tab.locator(".notice:visible").count() == 0
    assert len(server.asked) == 1
    # what the server has given up is told, and can be asked for anew
    server.is_down = True
    visit.ask("drop it", wait=False)
    visit.tab.wait_for_selector(".notice.lost:visible")
    server.kept.clear()
    server.is_down = False
    visit.stand()
    assert visit.text(".notice.bad span") == "The server has not kept the rest of this answer."
    visit.said = [s for s in visit.said if "404" not in s and "ERR_EMPTY_RESPONSE" not in s]
    visit.close()


@browsing
def test_sessions_are_listed_forked_parked_and_forgotten(visit: Visit) -> None:
    tab, held = visit.tab, visit.server.sessions
    visit.ask("hello")
    chat = visit.server.asked[0]["session_id"]
    assert tab.evaluate("location.hash") == f"#{chat}"
    held.insert(0, {**held[0], "id": chat, "bytes": {"host": 5, "disk": 6}})
    tab.click("#side >> text=Sessions")
    tab.wait_for_selector(".held li")
    rows = tab.locator(".held li")
    assert [rows.nth(i).locator(".name").inner_text() for i in range(4)] == [
        "hello", "agent-7", "refactor:billing.2026", "notes",
    ]  # fmt: skip
    assert [rows.nth(i).locator(".state").inner_text() for i in range(4)] == [
        "at hand", "at hand", "parked", "at hand",
    ]  # fmt: skip
    assert "18.2K tokens" in rows.nth(1).inner_text() and "3.2 MiB" in rows.nth(1).inner_text()
    parks = tab.locator(".held [data-at^='disk ']")
    assert [parks.nth(i).is_enabled() for i in range(4)] == [True, True, False, False]
    # by keys, and the focus stays where it was
    parks.nth(1).focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".held li:nth-child(2) [data-parked]")
    assert held[1]["bytes"] == {"disk": 3_400_512}
    tab.locator(".held [aria-label=Fork]").nth(1).focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".held code >> text=agent-7-2")
    assert tab.evaluate("document.activeElement.dataset.at") == "fork agent-7"
    tab.once("dialog", lambda d: d.accept())
    tab.locator(".held [aria-label=Forget]").last.click()
    conftest.wait_for(lambda: tab.locator(".held li").count() == 4)
    assert "notes" not in [s["id"] for s in held]
    # one of a chat of this page takes the chat with it
    tab.locator(".held li", has_text="hello").locator("[aria-label=Fork]").click()
    tab.wait_for_selector(".answer .prose")
    assert tab.evaluate("location.hash") == f"#{held[0]['id']}" != f"#{chat}"
    visit.ask("more")
    assert visit.server.asked[-1]["session_id"] == held[0]["id"]
    # and who deletes a chat deletes what the server holds of it
    gone = held[0]["id"]
    tab.hover("#side li >> nth=0")
    tab.once("dialog", lambda d: d.accept())
    tab.locator("#side li .press").first.click()
    conftest.wait_for(lambda: gone not in [s["id"] for s in held])
    left = {"agent-7", "agent-7-2", "refactor:billing.2026", chat}
    assert {s["id"] for s in held} == left


@browsing
def test_where_a_prompt_came_from(visit: Visit) -> None:
    tab = visit.tab
    visit.ask("hello")
    tab.click(".answer [aria-label='Where its prompt came from']")
    tab.wait_for_selector(".why h3 >> text=If it were asked now")
    # 40 tokens, 10 of them held, in the fake's words
    assert "Known up to token 10" in tab.locator(".why section").first.inner_text()
    assert "the last state that is kept lies at token 10" in visit.text(".why section")
    assert len(visit.server.explained[0]["prompts"]) == 1
    tab.keyboard.press("Escape")
    visit.ask("more")
    tab.locator(".answer [aria-label='Where its prompt came from']").last.click()
    tab.wait_for_selector(".why >> text=It goes on from all 40 tokens")
    roles = [[m["role"] for m in p["messages"]] for p in visit.server.explained[1]["prompts"]]
    assert roles == [["user"], ["user", "assistant", "user"]]
    tab.keyboard.press("Escape")
    # other settings make other prompts: each is explained with its own
    tab.click(".chip")
    tab.fill("#settings textarea >> nth=0", "Be kind.")
    tab.keyboard.press("Escape")
    visit.ask("again")
    tab.locator(".answer [aria-label='Where its prompt came from']").last.click()
    tab.wait_for_selector(".parting mark >> text=kind")
    first, second = visit.server.explained[2]["prompts"]
    assert first["messages"][0]["role"] == "user"
    assert second["messages"][0] == {"role": "system", "content": "Be kind."}


@browsing
def test_full_storage_is_told(visit: Visit) -> None:
    fill = "for (let n = 1 << 20; n; n >>= 1) try { for (let i = 0; ; i++)"
    fill += " localStorage.setItem(`x${n}.${i}`, 'x'.repeat(n)) } catch {}"
    visit.tab.evaluate("() => {" + fill + "}")
    visit.ask("hello")
    assert visit.text(".prose") == fake.PLAIN
    assert "storage is full" in visit.text(".warning")


@browsing
def test_edit_retry_and_fork_are_branches(visit: Visit) -> None:
    tab = visit.tab
    visit.ask("hello")
    tab.hover(".turn.user")
    tab.click(".user [aria-label=Edit]")
    tab.fill(".editor textarea", "think again")
    tab.keyboard.press("Enter")
    visit.stand()
    assert visit.text(".user .versions") == "2/2"
    assert visit.text(".thought summary").startswith("Thought for")
    tab.click(".answer [aria-label='Try again']")
    visit.stand()
    assert visit.text(".answer .versions") == "2/2"
    tab.click(".user [aria-label='Previous version']")
    assert visit.text(".prose") == fake.PLAIN
    tab.click(".answer [aria-label='Fork into a new chat']")
    tab.locator("#side li").nth(1).wait_for()
    visit.ask("more")
    assert [m["role"] for m in visit.server.asked[-1]["messages"]] == ["user", "assistant", "user"]
    assert tab.locator(".versions").count() == 0


@browsing
def test_tool_cards_take_results(visit: Visit) -> None:
    tab = visit.tab
    tools = [{"name": "get_weather", "parameters": {"type": "object"}}]
    visit.set("Tools", json.dumps(tools))
    visit.ask("the weather")
    assert visit.server.asked[0]["tools"] == [{"type": "function", "function": tools[0]}]
    assert [c.inner_text() for c in tab.locator(".tool .name").all()] == ["get_weather"] * 2
    assert json.loads(tab.locator(".json").first.inner_text()) == fake.CALLS[0][2]
    for i, field in enumerate(tab.locator(".below textarea").all()):
        field.fill(f"{20 - i} degrees")
    tab.click(".tools .main")
    tab.locator(".answer:not(.running)").nth(1).wait_for()
    said = visit.server.asked[1]["messages"]
    assert [m["role"] for m in said] == ["user", "assistant", "tool", "tool"]
    assert [c["id"] for c in said[1]["tool_calls"]] == ["call_0", "call_1"]
    assert said[3]["content"] == "19 degrees" and said[3]["tool_call_id"] == "call_1"
    assert visit.text(".state") == "done"
    tab.click("text=Change the result")
    tab.locator(".below textarea").first.fill("cold")
    tab.click(".tools .main")
    visit.stand()
    assert visit.text(".tools .versions") == "2/2"
    assert visit.server.asked[2]["messages"][2]["content"] == "cold"


@browsing
def test_a_preview_runs_apart(browser: Any, server: fake.Fake) -> None:
    visit = Visit(browser, server)
    tab = visit.tab
    visit.ask("a page", wait=False)
    tab.click(".code .open")
    visit.stand()
    outer = tab.frame_locator("#pane iframe")
    clock = outer.frame_locator("iframe").last.locator("body[data-leak]")
    clock.wait_for(state="attached")
    assert clock.get_attribute("data-ran") == "yes"
    assert clock.get_attribute("data-leak") == "no"
    assert re.fullmatch(r"\d\d:\d\d:\d\d", clock.locator("#clock").inner_text())
    frame = [f for f in tab.frames if f.parent_frame and f.parent_frame.parent_frame][-1]
    assert frame.evaluate("self.origin") == "null"
    assert frame.evaluate("(() => { try { return top.document.title } catch { return 0 } })()") == 0
    assert frame.evaluate("(() => { try { return localStorage } catch { return 0 } })()") == 0
    with tab.expect_download() as kept:
        tab.click("#pane [aria-label=Download]")
    assert kept.value.suggested_filename == "flashling.html"
    tab.click("#pane .tab >> nth=1")
    assert "<!doctype html>" in visit.text("#pane pre")
    tab.keyboard.press("Escape")
    assert tab.locator("#pane").is_hidden()
    # the page's own tries to reach the network were refused, and told on the console
    assert visit.said and all("Content Security Policy" in s or "Refused" in s for s in visit.said)
    visit.said.clear()
    visit.close()


@browsing
def test_thinking_and_settings(visit: Visit) -> None:
    tab = visit.tab
    tab.click(".chip")
    tab.fill("#settings textarea >> nth=0", "Be brief.")
    tab.locator("#settings .grid input").nth(0).fill("0.3")
    tab.locator("#settings .grid input").nth(4).fill("64")
    tab.locator("#settings .choices").nth(0).locator("text=On").click()
    tab.keyboard.press("Escape")
    tab.wait_for_selector(".chip >> text=System prompt")
    visit.ask("think")
    body = visit.server.asked[0]
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["temperature"] == 0.3 and body["max_tokens"] == 64
    assert body["chat_template_kwargs"] == {"enable_thinking": True}
    assert not visit.tab.locator(".thinking").is_visible()
    visit.tab.click(".thought summary")
    assert visit.text(".thinking") == fake.THOUGHT
    assert visit.text(".prose") == "It is 42."
    tab.keyboard.press("Control+k")
    tab.wait_for_selector(".welcome")
    assert "System prompt" in visit.text(".chip")


@browsing
def test_answers_by_a_schema(visit: Visit) -> None:
    tab = visit.tab
    tab.click(".chip")
    tab.click("text=JSON by a schema")
    field = tab.locator(".form textarea")
    field.fill("{")
    assert "Not JSON yet" in visit.text(".form .bad")
    tab.locator(".form .quiet").click()
    schema = json.loads(field.input_value())
    tab.keyboard.press("Escape")
    visit.ask("how to make tea")
    assert visit.server.asked[0]["response_format"]["json_schema"]["schema"] == schema
    assert json.loads(visit.text(".prose pre"))["steps"] == ["boil water", "wait", "pour"]


@browsing
def test_errors_are_told_and_tried_again(browser: Any, server: fake.Fake) -> None:
    visit = Visit(browser, server)
    visit.ask("refuse")
    assert visit.text(".notice span") == "429 · the queue is full; try again in 2 s"
    visit.ask("break")
    assert visit.text(".notice span") == "the engine stopped"
    assert visit.text(".prose") == fake.PLAIN[:21].strip()
    visit.ask("cut")
    assert visit.text(".notice") == "Cut off at the token limit."
    visit.tab.click(".notice .quiet >> nth=0")
    visit.stand()
    assert visit.tab.locator(".answer").count() == 1
    assert [s for s in visit.said if "429" not in s] == []
    visit.said.clear()
    visit.close()


@browsing
def test_a_key_is_asked_for_and_kept_in_the_tab(browser: Any, server: fake.Fake) -> None:
    server.key = "a secret"
    visit = Visit(browser, server)
    visit.tab.fill("#settings input[type=password]", "a secret")
    visit.tab.keyboard.press("Enter")
    visit.tab.wait_for_selector(".chip >> text=ling-nano")
    visit.ask("hello")
    assert visit.text(".prose") == fake.PLAIN
    kept = visit.tab.evaluate("[JSON.stringify(localStorage), JSON.stringify(sessionStorage)]")
    assert "a secret" not in kept[0] and "a secret" in kept[1]
    visit.said = [s for s in visit.said if "401" not in s]
    visit.close()


@browsing
def test_the_engine_is_drawn(visit: Visit) -> None:
    visit.tab.click("text=Engine")
    visit.tab.locator(".line.first").nth(2).wait_for(state="attached")
    visit.tab.wait_for_timeout(2500)
    path = visit.tab.locator(".wide .line.first").get_attribute("d")
    assert path.count("L") >= 1 and "NaN" not in path
    figures = visit.text(".figures").split("\n")
    assert "82 %" in figures
    # from histograms of whole counts: about the middle of the bucket that holds the median
    assert 140 <= int(figures[figures.index("first token, median") - 1].split()[0]) <= 160
    assert visit.tab.locator(".share span").count() == 4
    assert "evicted" in visit.text(".panels section:last-child")


@browsing
def test_chinese_dark_and_phone(browser: Any, server: fake.Fake) -> None:
    size = {"width": 390, "height": 844}
    visit = Visit(browser, server, viewport=size, locale="zh-CN", color_scheme="dark")
    tab = visit.tab
    assert visit.text(".welcome h1") == "今天想做点什么？"
    visit.ask("linear attention")
    visit.ask("a page")
    wide = "document.documentElement.scrollWidth > innerWidth"
    assert not tab.evaluate(wide)
    paper = "getComputedStyle(document.body).backgroundColor"
    assert tab.evaluate(paper) == "rgb(23, 25, 27)"
    tab.click(".bar [aria-label=菜单]")
    tab.click("text=引擎")
    tab.wait_for_selector(".figures")
    assert not tab.evaluate(wide)
    # tiers too are told in the reader's language
    tab.locator(".panels >> text=内存").first.wait_for()
    tab.click(".bar [aria-label=菜单]")
    tab.click("text=设置")
    tab.click("text=English")
    assert visit.text("#settings h2") == "Settings"
    tab.click("#settings >> text=Light")
    assert tab.evaluate(paper) == "rgb(252, 251, 248)"
    tab.reload()
    assert tab.evaluate(paper) == "rgb(252, 251, 248)"
    assert tab.evaluate("document.documentElement.lang") == "en"
    visit.close()


@browsing
def test_keys(visit: Visit) -> None:
    tab = visit.tab
    tab.fill("#write", "one")
    tab.keyboard.press("Shift+Enter")
    tab.keyboard.type("two")
    assert tab.input_value("#write") == "one\ntwo"
    # the Enter that ends a word of an input method sends nothing
    tab.evaluate(
        "document.querySelector('#write').dispatchEvent(new KeyboardEvent('keydown',"
        " {key: 'Enter', isComposing: true, bubbles: true}))"
    )
    assert not visit.server.asked
    tab.keyboard.press("Enter")
    visit.stand()
    assert visit.server.asked[0]["messages"][0]["content"] == "one\ntwo"
    assert visit.text("#said") == "Answer finished"
    tab.focus(".fresh")
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.id") == "write"


@browsing
def test_the_real_server(browser: Any, tmp_path: Path, serving: Any) -> None:
    served = serving("--disk-cache", f"{tmp_path / 'parked'}:1")
    tab = browser.new_context(locale="en-US").new_page()
    tab.set_default_timeout(20_000)
    tab.goto(served.url)
    tab.fill("#settings input[type=password]", conftest.KEYS["ann"])
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".chip >> text=embedded")

    def ask(text: str, temperature: str, most: str) -> None:
        tab.click(".chip")
        for place, value in ((0, temperature), (4, most)):
            tab.locator("#settings .grid input").nth(place).fill(value)
        tab.keyboard.press("Escape")
        tab.fill("#write", text)
        tab.keyboard.press("Enter")

    ask("list the files in src", "0", "60")
    tab.wait_for_selector(".answer:not(.running) .margin >> text=cached")
    # so hot it does not come to an end by itself
    ask("count from one to ten thousand", "5", "150")
    tab.wait_for_selector(".answer.running >> nth=-1 >> .margin >> text=out")
    tab.reload()
    tab.wait_for_selector(".answer:not(.running) .notice >> text=Cut off at the token limit.")
    costs = tab.locator(".margin").last.inner_text().split()
    assert "150" in costs and tab.locator(".answer").count() == 2
    # stopped, the server ends it at once, though it goes on for one who was cut off
    ask("count from one to ten thousand", "5", "4000")
    tab.wait_for_selector(".answer.running >> nth=-1 >> .margin >> text=out")
    tab.keyboard.press("Escape")
    tab.wait_for_selector(".notice >> text=Stopped.")
    conftest.wait_for(lambda: not served.gauge("requests_open"))
    tab.click("#side >> text=Sessions")
    tab.click(".held [data-at^='disk ']:enabled")
    tab.wait_for_selector(".held [data-parked]")
    tab.go_back()
    tab.locator("[aria-label='Where its prompt came from']").last.click()
    tab.wait_for_selector(".why h3 >> text=If it were asked now")
    assert "It goes on from all" in tab.locator(".why").inner_text()
    tab.context.close()
    conftest.stop(served)
