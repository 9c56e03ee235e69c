"""What a tldr page says an example does, said as a person would: other words, values put in."""

from __future__ import annotations

import random
import re
from functools import cache

from .drawing import draw
from .placeholders import TABLES, Slot, Spot, label, spots

# characters that stand for values while the words around them change
MARK = 0xE000
MARKED = re.compile("[\ue000-\ue0ff]")
# share of values that are told though the page's sentence has no place for them
TOLD = {"literal": 0.35, "choice": 0.55, "number": 0.6, "decimal": 0.5}
USUALLY = 0.8
BEFORE = (
    r"(?:(?:an?|the|one or more|multiple|several|some|another|your)\s+)?"
    r"(?:(?:specific|specified|given|particular|certain|custom|single)\s+)*"
)
AFTER = (
    r"(?=\s*(?:$|[,.;:()]|(?:to|from|in|into|with|using|and|or|by|for|on|onto|as|at|that|which|of|if|without|"
    r"while|after|before|through|via|over|is|are|based|containing|against|inside|recursively|interactively)\b))"
)
NOUNS = {
    "file": r"(?:(?:[A-Z][A-Za-z0-9]*|input|output|source|text)\s+)?(?:files?|images?|videos?|archives?|documents?|scripts?)",
    "dir": r"(?:(?:target|output|source|destination|input)\s+)?(?:director(?:y|ies)|folders?)",
    "url": r"urls?|URLs?|links?|websites?|web ?pages?|sites?",
    "ip": r"IPs?(?: address(?:es)?)?|address(?:es)?|hosts?",
    "domain": r"domains?(?: names?)?|hosts?|sites?",
    "host": r"(?:remote )?hosts?(?:names?)?|servers?|machines?",
    "user": r"users?(?:names?)?|accounts?",
    "port": r"ports?",
    "package": r"packages?|modules?|dependenc(?:y|ies)|applications?",
    "image": r"(?:[Dd]ocker |container )?images?",
    "branch": r"branch(?:es)?",
    "database": r"databases?",
    "group": r"groups?",
    "interface": r"(?:network )?interfaces?",
    "device": r"devices?|disks?|drives?|partitions?",
    "pid": r"process(?:es)?|PIDs?",
    "command": r"commands?|programs?",
    "pattern": r"patterns?|regex(?:es)?|regular expressions?",
    "query": r"search terms?|keywords?|terms?|patterns?|quer(?:y|ies)",
    "hash": r"commits?|revisions?|hash(?:es)?",
    "version": r"versions?",
    "key": r"keys?|options?|variables?|settings?",
    "value": r"values?",
    "tag": r"tags?",
    "text": r"messages?|text|strings?|comments?",
}  # fmt: skip
NOUNS_ZH = {
    "file": "文件|图片|图像|视频|脚本|文档|压缩包|归档",
    "dir": "目录|文件夹",
    "url": "网址|链接|URL|网页|网站",
    "ip": "IP ?地址|地址|主机",
    "domain": "域名|网站",
    "host": "主机|服务器",
    "user": "用户",
    "port": "端口",
    "package": "软件包|包|模块|依赖项?",
    "image": "镜像",
    "branch": "分支",
    "database": "数据库",
    "group": "组",
    "interface": "(?:网络)?接口|网卡",
    "device": "设备|磁盘|分区",
    "pid": "进程",
    "command": "命令|程序",
    "pattern": "模式|正则表达式",
    "query": "关键[词字]|搜索词",
    "version": "版本",
    "key": "变量|键",
    "value": "值",
    "text": "消息|文本|字符串",
}
INTO = re.compile(r"(?:\b(?:to|into|as|in|at|output)|到|至|为|成|在|输出) ?$")
SPECIFIED_ZH = "(?:(?:一|某|单|多|几)个|一些|指定的?|特定的?|给定的?)+"


def worded(
    ask: str, command: str, lang: str, rng: random.Random, *, rewrites: bool = True
) -> tuple[str, dict[str, tuple[str, ...]]]:
    """A request like `ask` with values for the command's placeholders, and the values told.

    Without `rewrites` the words stay those of `ask`; values take the place of its nouns or follow.
    """
    text = ask.rstrip(".。")
    told: dict[str, tuple[str, ...]] = {}
    shown: list[str] = []
    loose: list[tuple[str, Spot]] = []
    places = spots(command)
    # what a sentence speaks of first is what the command reads
    for name in sorted(places, key=lambda name: places[name].is_result):
        spot = places[name]
        values = draw(spot, lang, rng)
        if not values:
            continue
        mark = chr(MARK + len(shown))
        placed = _placed(text, name, spot, mark, lang, rng)
        if placed is None:
            if rng.random() >= _share(spot):
                continue
            loose.append((mark, spot))
        text = placed or text
        told[name] = values
        shown.append(_shown(values, lang, rng))
    added = "".join(_added(spot, lang, rng).replace("{v}", mark) for mark, spot in loose)
    text = rewritten(text, added, lang, rng) if rewrites else text + added
    if lang == "zh":
        text = _spaced(text, shown, rng)
    return MARKED.sub(lambda m: shown[ord(m[0]) - MARK], text), told


def _share(spot: Spot) -> float:
    """How often a value is told that the sentence has no place for."""
    share = TOLD.get(spot.want.kind, USUALLY)
    # a bare number says nothing about what it is for
    return 0.0 if spot.want.kind in ("number", "decimal") and not spot.option else share


def _shown(values: tuple[str, ...], lang: str, rng: random.Random) -> str:
    said = [f'"{v}"' if " " in v and rng.random() < 0.7 else v for v in values]
    if len(said) == 1:
        return said[0]
    gap = rng.choice((" ", ", ", " and ") if lang == "en" else (" ", "、", " 和 ", "和"))
    return ", ".join(said[:-1]) + gap + said[-1] if gap == " and " else gap.join(said)


def _placed(
    text: str, name: str, spot: Spot, mark: str, lang: str, rng: random.Random
) -> str | None:
    """The text with the mark where the slot's value belongs; None when there is no such place."""
    # the page may name the very placeholder, or its example value
    literal = re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text)
    if literal and (len(name) > 2 or name.isdigit() or name == "n"):
        return text[: literal.start()] + mark + text[literal.end() :]
    want = spot.want
    if want.kind in ("literal", "choice", "number", "decimal"):
        return None
    match = _places(want, lang).search(text)
    if match is None or (spot.is_result and not INTO.search(text[: match.start()])):
        return None
    noun = match["noun"]
    if lang == "zh":
        put = f" {mark} " if match["some"] and rng.random() < 0.6 else f"{noun} {mark} "
    elif rng.random() < (0.75 if want.kind in ("file", "dir", "url", "ip") else 0.4):
        put = mark
    else:
        put = f"{rng.choice(('', 'the '))}{noun} {mark}"
    return text[: match.start()] + put + text[match.end() :]


@cache
def _places(want: Slot, lang: str) -> re.Pattern[str]:
    """Finds where a sentence speaks of the slot's value."""
    if lang == "zh":
        noun = NOUNS_ZH.get(want.kind, "")
        own = re.sub(r"[_\s\d]+$", "", want.item.rpartition("/")[2])
        nouns = "|".join(n for n in (re.escape(own) if len(own) > 1 else "", noun) if n)
        return re.compile(
            f"(?P<some>{SPECIFIED_ZH})?(?P<noun>{nouns or '(?!)'})(?![名系格类大管列夹])"
        )
    words = label(want, "en").removesuffix(" name").split()
    own = r"\s+".join(re.escape(w) for w in words[-2:]) + r"s?(?:\s+names?)?"
    last = re.escape(words[-1]) + r"s?(?:\s+names?)?" if words else "(?!)"
    nouns = "|".join(n for n in (own, NOUNS.get(want.kind, ""), last) if n)
    return re.compile(rf"(?<![\w-]){BEFORE}(?P<noun>{nouns})(?![\w-]){AFTER}")


def _added(spot: Spot, lang: str, rng: random.Random) -> str:
    want = spot.want
    forms = TABLES[f"added_{lang}"]
    kind = {
        "ip": "host",
        "domain": "host",
        "query": "pattern",
        "subject": "text",
        "choice": "literal",
    }
    key = kind.get(want.kind, want.kind)
    if key in ("file", "dir") and spot.is_result:
        key = "into"
    elif key == "literal" and spot.option:
        key = ""
    form = rng.choice(forms.get(key, forms[""]))
    return form.replace("{l}", label(want, lang, spot.option))


def rewritten(text: str, added: str, lang: str, rng: random.Random) -> str:
    """The text in other words, with what is `added` to it; marks of values stay as they are."""
    first = re.match(r"[A-Za-z'-]+" if lang == "en" else r"[\u4e00-\u9fff]{2,3}", text)
    verb = first[0].lower() if first else ""
    if lang == "en" and first:
        text = text[0].lower() + text[1:] if text[1:2].islower() else text
    table = TABLES[f"verbs_{lang}"]
    verb = verb if verb in table else verb[:2] if lang == "zh" else verb
    is_plain = lang == "en" and (not verb or verb in TABLES["not_verbs_en"])
    forms = "plain" if is_plain else "forms"
    if verb in TABLES[f"shows_{lang}"] and rng.random() < 0.22:
        text = text[len(verb) :].lstrip(" 出")
        forms = "things"
    elif verb in table and rng.random() < 0.6:
        text = rng.choice(table[verb]) + text[len(verb) :]
    text = _swapped(text, lang, rng)
    if lang == "en" and rng.random() < 0.2:
        text = re.sub(r"\b(?:the|a|an) ", "", text)
    if lang == "en" and rng.random() < 0.25:
        text = re.sub(r"\s*\([^()\ue000-\ue0ff]*\)", "", text)
    form = _pick(TABLES[f"{forms}_{lang}"], rng)
    ends = re.search(r"\{\}[?？]?$", form) is not None
    text = form.replace("{}", text.strip() + (added if ends else ""))
    text += "" if ends else added
    is_bare = lang == "en" and text[:1].islower()
    return text[0].upper() + text[1:] if is_bare and rng.random() < 0.4 else text


def _swapped(text: str, lang: str, rng: random.Random) -> str:
    for word, others in TABLES[f"words_{lang}"].items():
        if word in text and rng.random() < 0.35:
            other = rng.choice(others)
            if lang == "zh":
                text = text.replace(word, other, 1)
            else:
                text = re.sub(rf"(?<![\w-]){word}(?![\w-])", other, text, count=1)
    return text


def _pick(forms: list[list], rng: random.Random) -> str:
    return rng.choices([f for f, _ in forms], [w for _, w in forms])[0]


def named(request: str, program: str, lang: str, rng: random.Random) -> str:
    """The request with the program that shall do it."""
    asks = re.match(r"(how |what |where |can |is |怎么|如何|怎样|请|帮|我|能)", request.lower())
    form = _pick(TABLES[f"named_{lang}"], rng)
    if asks or request.endswith(("?", "？")):
        form = rng.choice(("{} ({p})", "{p}: {}", "with {p}: {}") if lang == "en" else
                          ("{p}：{}", "{p} {}", "用 {p}，{}", "{}（{p}）"))  # fmt: skip
    if not form.startswith("{}") and lang == "en" and request[1:2].islower():
        request = request[0].lower() + request[1:]
    return form.replace("{p}", program).replace("{}", request, 1)


def _spaced(text: str, shown: list[str], rng: random.Random) -> str:
    """Spaces between Chinese words and values as some write them, or none as others do."""
    text = re.sub(r"\s+([，。、）：？])", r"\1", re.sub(r"\s{2,}", " ", text)).strip()
    if rng.random() < 0.6:
        return text

    def joined(match: re.Match[str]) -> str:
        value = shown[ord(match[1]) - MARK]
        # a value that ends in Chinese would run into the words around it
        return match[1] if value[0].isascii() and value[-1].isascii() else match[0]

    return re.sub(r"(?<=[\u4e00-\u9fff]) ?([\ue000-\ue0ff]) ?(?=[\u4e00-\u9fff]|$)", joined, text)
