"""The tldr index: what commands can do, in English and Chinese, found by the words of a request.

The pages are shipped as one compressed text: a line "\x01page<tab>lang<tab>about" for each page,
then one line "ask<tab>command" for each of its examples, {{placeholders}} kept.
"""

from __future__ import annotations

import gc
import gzip
import hashlib
import json
import lzma
import random
import re
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .terms import Postings, Terms, is_chinese

PAGES = Path(__file__).with_name("data") / "tldr.xz"
PLATFORMS = ("common", "linux")
PLACEHOLDER = re.compile(r"\{\{((?:[^{}]|\\[{}]|\{[^{}]*\})*)\}\}")
# pages held out for tests, of a hundred
HELD_OUT = 8
# weights of the fields, and what a program named in the query adds; all chosen by `evaluate`
ASK, COMMAND, PAGE, NAMED, OTHER_LANGUAGE = 1.0, 0.25, 0.6, 0.8, 0.6
# programs that more people have: of two as near, theirs comes first
WELL_KNOWN = frozenset(
    "docker kubectl ffmpeg ffprobe magick convert mogrify identify nmap yt-dlp youtube-dl npm npx node yarn pnpm"
    " cargo rustc go brew dnf pacman snap flatpak apt-get dpkg nginx openssl gpg tmux screen vim nvim emacs code"
    " pandoc pdftotext pdftoppm qpdf gs exiftool sox mpv vlc sqlite3 psql pg_dump mysql mysqldump redis-cli"
    " mongosh terraform ansible ansible-playbook helm aws gcloud az gh glab hg svn cmake ninja gdb valgrind strace"
    " ltrace perf tcpdump wireshark tshark iptables nft ufw nmcli iw iwconfig ifconfig fdisk parted mkfs fsck"
    " lvcreate cryptsetup smartctl rclone restic borg gnome-screenshot scrot grim xclip wl-copy fd bat eza fzf"
    " hyperfine tokei parallel pv ncdu tesseract inkscape blender gimp libreoffice adb fastboot java javac mvn"
    " gradle php composer ruby gem bundle perl R julia pip3 pipx poetry uv conda virtualenv pytest black ruff"
    " jupyter certbot traceroute mtr iperf3 speedtest-cli qrencode 7z unrar rar qemu-system-x86_64 virsh podman"
    " loginctl timedatectl hostnamectl localectl setfacl getfacl chattr lsattr".split()
)
WELL_KNOWN_BOOST = 1.15


class Entry(NamedTuple):
    """One example of a page: what it does, how, of which page, in which language (en or zh)."""

    ask: str
    command: str
    page: str
    lang: str


def build(source_gz: str | Path, target: str | Path = PAGES) -> int:
    """Write the index from gzipped JSON lines (lang, platform, page, about, ask, command).

    Options given in two spellings are settled (the short flag, the long word), marks of mnemonics
    go. Returns the file's size in bytes; the same source gives the same bytes.
    """
    pages: dict[tuple[str, str], tuple[str, dict[str, str]]] = {}
    with gzip.open(source_gz, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            # pages of aliases only tell which page to read
            alias = row["command"].startswith("tldr ") and row["page"] != "tldr"
            if row["platform"] not in PLATFORMS or alias:
                continue
            key = (row["page"], row["lang"])
            _, examples = pages.setdefault(key, (_clean_about(row["about"]), {}))
            examples.setdefault(_clean_command(row["command"]), _clean_ask(row["ask"]))
    text = []
    for (page, lang), (about, examples) in sorted(pages.items()):
        text.append(f"\x01{page}\t{lang}\t{about}")
        text += [f"{ask}\t{command}" for command, ask in examples.items()]
    data = lzma.compress("\n".join(text).encode(), preset=9 | lzma.PRESET_EXTREME)
    Path(target).write_bytes(data)
    return len(data)


def _clean_ask(ask: str) -> str:
    ask = ask.replace("[Interactive] ", "").replace("`", "").replace("\t", " ")
    return re.sub(
        r"\[([A-Za-z]{1,3})\](?=[A-Za-z])|(?<=[A-Za-z-])\[([A-Za-z]{1,3})\]", r"\1\2", ask
    )


def _clean_about(about: str) -> str:
    about = about.replace("`", "").replace("\t", " ")
    about = re.split(
        r"\s*(?:See also:|Note:|Some subcommands|More information|另请参[见阅]|注意)", about
    )[0]
    return about[:160].strip()


def _clean_command(command: str) -> str:
    def settled(match: re.Match[str]) -> str:
        options = match[1][1:-1].split("|")
        return options[0] if options[0].startswith("-") else options[-1]

    command = re.sub(r"\{\{(\[[^\[\]{}|]+(?:\|[^\[\]{}|]+)+\])\}\}", settled, command)
    return command.replace("\t", " ").strip()


def skeleton(command: str) -> str:
    """The command with its placeholders blanked: alike for a page's twins in two languages."""
    return PLACEHOLDER.sub("{}", command)


def head(command: str) -> str:
    """Program and, where a bare word follows, subcommand: "git rebase", "tar"."""
    words = [w for w in command.split() if w != "sudo" and not re.match(r"[A-Z_]+=", w)][:2]
    if len(words) == 2 and not re.fullmatch(r"[a-z][a-z0-9_:-]*", words[1]):
        words.pop()
    return " ".join(words)


@cache
def is_held_out(page: str) -> bool:
    """Whether a page belongs to the test split: its answers are never trained on."""
    return int(hashlib.md5(page.encode()).hexdigest(), 16) % 100 < HELD_OUT


class Index:
    """Pages in memory, searched by TF-IDF."""

    def __init__(self, text: str) -> None:
        self.entries: list[Entry] = []
        self.pages: list[tuple[str, str, str]] = []
        page_of = []
        page, lang = "", ""
        for line in text.split("\n"):
            if line[0] == "\x01":
                page, lang, about = line[1:].split("\t")
                self.pages.append((page, lang, about))
            else:
                ask, command = line.split("\t")
                self.entries.append(Entry(ask, command, page, lang))
                page_of.append(len(self.pages) - 1)
        self.page_of = np.array(page_of, np.int32)
        known = [not WELL_KNOWN.isdisjoint((p, p.partition("-")[0])) for p, _, _ in self.pages]
        self.boost = np.where(known, np.float32(WELL_KNOWN_BOOST), np.float32(1))[self.page_of]
        self.is_zh = np.array([e.lang == "zh" for e in self.entries])
        self._index()

    def _index(self) -> None:
        self.terms = Terms()
        asks = Postings(self.terms.table([e.ask for e in self.entries]))
        commands = Postings(self.terms.table([e.command.replace("{{", " ") for e in self.entries]))
        pages = Postings(
            self.terms.table([f"{page.replace('-', ' ')} {about}" for page, _, about in self.pages])
        )
        self.fields = (asks, commands, pages)
        self.names: dict[str, list[int]] = {}
        for i, (page, _, _) in enumerate(self.pages):
            name = page.lower()
            self.names.setdefault(name, []).append(i)
            program = name.partition("-")[0]
            if program != name:
                self.names.setdefault(program, []).append(i)

    @classmethod
    def load(cls, path: str | Path | None = None) -> Index:
        """The shipped pages, or those of `path`; OSError when the file cannot be read."""
        text = lzma.decompress(Path(path or PAGES).read_bytes()).decode()
        # a third of the time would go to the collector, which finds nothing to free here
        collects = gc.isenabled()
        gc.disable()
        try:
            return cls(text)
        finally:
            if collects:
                gc.enable()

    @cached_property
    def twins(self) -> dict[int, int]:
        """Of rows in one language, the row with the same command in the other."""
        found: dict[tuple[str, str], int] = {}
        zh = {e.page for e in self.entries if e.lang == "zh"}
        pairs: dict[int, int] = {}
        for i, e in enumerate(self.entries):
            if e.page not in zh:
                continue
            other = found.setdefault((e.page, skeleton(e.command)), i)
            if other != i and self.entries[other].lang != e.lang and other not in pairs:
                pairs[other], pairs[i] = i, other
        return pairs

    def search(self, query: str, k: int = 10) -> list[Entry]:
        """Up to `k` examples for a request in any words, best first, no command twice.

        A command told in both languages is told in the query's; programs named count extra.
        """
        return [self.entries[i] for i in self.rows(query, k)]

    def rows(self, query: str, k: int = 10, without: frozenset[int] = frozenset()) -> list[int]:
        """What `search` finds, as row numbers; rows in `without` are as if they did not exist."""
        lang = "zh" if is_chinese(query) else "en"
        scores = self._scores(query, lang)
        best = np.argpartition(-scores, min(6 * k, len(scores) - 1))[: 6 * k]
        found: list[int] = []
        commands: set[str] = set()
        for i in map(int, best[np.lexsort((best, -scores[best]))]):
            if scores[i] <= 0 or i in without:
                continue
            row = i
            if self.entries[i].lang != lang:
                twin = self.twins.get(i, i)
                row = i if twin in without else twin
            if self.entries[row].command not in commands:
                found.append(row)
                commands.add(self.entries[row].command)
            if len(found) == k:
                break
        return found

    def _scores(self, query: str, lang: str) -> np.ndarray:
        words = self.terms.query(query)
        asks, commands, pages = self.fields
        scores = asks.scores(words) * np.float32(ASK) + commands.scores(words) * np.float32(COMMAND)
        of_pages = pages.scores(words) * np.float32(PAGE)
        for name, share in self._named(query).items():
            rarity = float(asks.rarity(self.terms.known(name)))
            for i in self.names[name]:
                whole = self.pages[i][0].lower() == name
                of_pages[i] += NAMED * share * rarity * (1 if whole else 0.7)
        scores += of_pages[self.page_of]
        scores *= self.boost
        if lang == "en":
            scores[self.is_zh] *= OTHER_LANGUAGE
        else:
            scores[~self.is_zh] *= OTHER_LANGUAGE
        return scores

    def _named(self, query: str) -> dict[str, float]:
        """Page names that the query mentions; two words in a row name a subcommand's page."""
        words = re.findall(r"[a-z0-9_.+:\[-]+", query.lower())
        words = [w.rstrip(".:") for w in words]
        found = {w: 1.0 for w in words if w in self.names}
        for a, b in zip(words, words[1:], strict=False):
            if f"{a}-{b}" in self.names:
                found[f"{a}-{b}"] = 1.5
        return found


def evaluate(index: Index, lang: str, limit: int = 700) -> dict[str, float]:
    """Shares of held-out examples for which the index finds a right one: "first", "ten".

    For each of up to `limit` examples of held-out pages in `lang` (drawn with a fixed seed), the
    query is what the example does, word for word, without the program's name. The example itself
    and its twin in the other language are taken out, and a hit is any other example with the same
    `head`: program and subcommand. About one example in five has no such other: the ceiling is
    about 0.8.
    """
    rows = [i for i, e in enumerate(index.entries) if e.lang == lang and is_held_out(e.page)]
    random.Random(0).shuffle(rows)
    rows = rows[:limit]
    first = ten = 0
    for i in rows:
        wanted = head(index.entries[i].command)
        without = frozenset({i, index.twins.get(i, i)})
        found = index.rows(index.entries[i].ask, 10, without)
        heads = [head(index.entries[j].command) for j in found]
        first += heads[:1] == [wanted]
        ten += wanted in heads
    return {"first": first / len(rows), "ten": ten / len(rows)}
