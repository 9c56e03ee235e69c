"""Words of requests as terms, and tables that score texts by the terms they share with a query."""

from __future__ import annotations

import re
from functools import cache
from itertools import chain

import numpy as np

WORDS = re.compile(r"[a-z]+[a-z0-9+#]*|[\u4e00-\u9fff]+")
SEPARATED = re.compile(WORDS.pattern + r"|\n")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
STOP = frozenset(
    "a an the of to in on for and or with by from at as is are be it its that this these those i me my"
    " we you your want need please can could would how do does what which into using use via some"
    " path tool cli utility such used based program command given specific specified".split()
)
# words that mean much the same in a request: each brings the others along, at less weight
ALIKE = tuple(
    words.split()
    for words in (
        "directory folder dir", "remove delete erase", "image picture photo", "video movie film",
        "display show print view list see get", "create make generate", "create new add",
        "run execute launch start", "repository repo", "find search locate", "database db",
        "configuration config settings", "package pkg", "extract decompress unpack unzip",
        "compress archive pack zip", "change modify edit set", "download fetch get retrieve",
        "upload send push", "application app program", "environment env", "check verify test validate",
        "convert transform turn", "stop kill terminate halt end", "update upgrade refresh",
        "reduce shrink smaller optimize", "information info details", "process pid", "user username",
        "copy duplicate", "move rename", "merge combine join", "resize scale", "play listen",
        "connect join login", "install setup", "uninstall remove", "interface nic", "size big large",
        "disk drive", "password passphrase", "text string", "audio sound music", "current active now",
        "all every each", "monitor watch", "website page site web", "count number many",
    )
)  # fmt: skip
ALIKE_SHARE = 0.3
VALUE_SHARE = 0.5
# what a file of some ending is called
CALLED = {
    ending: words
    for endings, words in (
        ("png jpg jpeg gif bmp tiff webp heic ico svg", "image 图片"),
        ("mp4 mkv avi mov webm flv", "video 视频"),
        ("mp3 wav flac ogg m4a aac opus", "audio 音频"),
        ("zip tar gz tgz xz bz2 rar 7z zst", "archive 归档 压缩"),
        ("doc docx odt ppt pptx xls xlsx", "document 文档"),
        ("py", "python"),
        ("md", "markdown"),
        ("js", "javascript"),
        ("iso img", "iso image 镜像"),
        ("db sqlite", "sqlite database"),
    )
    for ending in endings.split()
}
SAME_CHINESE = (
    ("文件夹", "目录"), ("展示", "显示"), ("打印", "显示"), ("查看", "显示"), ("看看", "显示"),
    ("看一下", "显示"), ("移除", "删除"), ("删掉", "删除"), ("去掉", "删除"), ("执行", "运行"),
    ("新建", "创建"), ("建立", "创建"), ("生成", "创建"), ("查找", "搜索"), ("寻找", "搜索"),
    ("找到", "搜索"), ("图像", "图片"), ("照片", "图片"), ("软件包", "包"), ("文档", "文件"),
    ("开启", "启动"), ("更改", "修改"), ("编辑", "修改"), ("变更", "修改"),
)  # fmt: skip
ASKING = re.compile(
    "怎么样?|怎样|如何|请问|请|帮我|帮忙|麻烦|我想要?|我要|我需要|能不能|可以|给我|一下|的?命令|指定的?|某个|特定的?"
)
# what a user's own values look like; only the kind of file tells something about the task
VALUE = re.compile(
    r"[a-z]+://\S+|[\w.+-]+@[\w.-]+|(?<![\w.])~?/?(?:[\w.@+-]+/)+[\w.@+-]*|~/\S*"
    r"|[\w+-]*(?:\.[\w+-]+)+|\d+"
)


def is_chinese(text: str) -> bool:
    """Whether the text has a Chinese character."""
    return CHINESE.search(text) is not None


def stem(word: str) -> str:
    """A lower-case English word without plural, -ing, -ed and final e."""
    if len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 3 and word[-1] == "s" and word[-2] not in "sui":
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            if word[-1] == word[-2] and word[-1] not in "ls":
                word = word[:-1]
    return word[:-1] if len(word) > 3 and word[-1] == "e" else word


@cache
def alike() -> dict[str, tuple[str, ...]]:
    """Stems by the stems that may stand for them."""
    found: dict[str, set[str]] = {}
    for group in ALIKE:
        for word in group:
            found.setdefault(stem(word), set()).update(stem(w) for w in group if w != word)
    return {word: tuple(sorted(others)) for word, others in found.items()}


def bigrams(run: str) -> list[str]:
    """Overlapping pairs of a run of Chinese characters (the character itself when alone)."""
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


class _Parts(dict[str, list[int]]):
    """Terms of words, worked out when first met."""

    def __init__(self, ids: dict[str, int]) -> None:
        super().__init__({w: [] for w in STOP} | {"\n": [0]})
        self.ids = ids

    def __missing__(self, word: str) -> list[int]:
        parts = bigrams(_settled(word)) if word[0] > "z" else [stem(word)]
        self[word] = [self.ids.setdefault(p, len(self.ids)) for p in parts]
        return self[word]


class Terms:
    """Numbers of terms, given as they are first met; 0 ends a text."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {"\n": 0}
        self._parts = _Parts(self.ids)

    def known(self, word: str) -> int:
        """The term of a word, -1 when no text has it."""
        return self.ids.get(stem(word), -1)

    def table(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, int]:
        """Terms [P] int64 and rows [P] int64 of the words of `texts`, and the number of texts."""
        words = SEPARATED.findall("\n".join(texts).lower())
        # plain C loops: half a million words are read at every start
        terms = np.fromiter(chain.from_iterable(map(self._parts.__getitem__, words)), np.int64)
        ends = terms == 0
        return terms[~ends], np.cumsum(ends)[~ends], len(texts)

    def query(self, text: str) -> dict[int, float]:
        """Known terms of a request, with weights: of values only what kind they are, at less."""
        text = text.lower()
        words: dict[int, float] = {}
        for value in VALUE.findall(text):
            ending = re.search(r"\.([a-z0-9]{1,5})$", value)
            if ending and "://" not in value and "@" not in value:
                for word in (ending[1], *CALLED.get(ending[1], "").split()):
                    for part in bigrams(word) if word[0] > "z" else [stem(word)]:
                        words[self.ids.get(part, -1)] = VALUE_SHARE
        text = VALUE.sub(" ", text)
        if is_chinese(text):
            text = _settled(ASKING.sub(" ", text))
        for run in WORDS.findall(text):
            if run in STOP:
                continue
            for part in bigrams(run) if run[0] > "z" else [stem(run)]:
                words[self.ids.get(part, -1)] = 1.0
                for other in alike().get(part, ()):
                    words.setdefault(self.ids.get(other, -1), ALIKE_SHARE)
        words.pop(-1, None)
        return words


def _settled(text: str) -> str:
    for word, use in SAME_CHINESE:
        text = text.replace(word, use)
    return text


class Postings:
    """Which texts hold a term, by term; scores are cosines with damped lengths."""

    # power of a text's length that its score is divided by: 1 would be the cosine
    DAMP = 0.75

    def __init__(self, table: tuple[np.ndarray, np.ndarray, int]) -> None:
        terms, rows, self.size = table
        # a term counts once in a text
        both = np.sort(terms * self.size + rows)
        both = both[np.diff(both, prepend=-1) > 0]
        terms, self.rows = both // self.size, (both % self.size).astype(np.int32)
        count = int(terms.max(initial=-1)) + 1
        held = np.bincount(terms, minlength=count)
        self.starts = np.concatenate([[0], np.cumsum(held)])
        self.weight = np.log((self.size + 1) / (held + 0.5)).astype(np.float32)
        squares = np.bincount(self.rows, self.weight[terms] ** 2, minlength=self.size)
        self.lengths = np.maximum(squares, 1.0).astype(np.float32) ** (self.DAMP / 2)

    def rarity(self, term: int) -> float:
        """The inverse document frequency of a term, natural logarithm; the highest when unknown."""
        if 0 <= term < len(self.weight):
            return float(self.weight[term])
        return float(np.log((self.size + 1) / 0.5))

    def scores(self, query: dict[int, float]) -> np.ndarray:
        """[texts] float32: how well each text matches a query of terms and weights."""
        scores = np.zeros(self.size, np.float32)
        for term, weight in query.items():
            if term + 1 < len(self.starts):
                rows = self.rows[self.starts[term] : self.starts[term + 1]]
                scores[rows] += np.float32(weight) * self.weight[term] ** 2
        return scores / self.lengths
