"""The hubs: how a repository is named, and which of its files are needed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from .web import PullError, Web

# published checkpoints by a short name
SHORT = {
    f"ling-2.6-flash{form}": f"inclusionAI/Ling-2.6-flash{form}" for form in ("", "-fp8", "-int4")
}
# what a model's folder is read from; code is never fetched
NEEDED = re.compile(r"[\w+-][\w.+-]*\.(safetensors|json|jinja)|(LICEN[CS]E|NOTICE)[\w.-]*")


@dataclass(frozen=True)
class Remote:
    """A file of a repository. size: bytes; digest: its kind ("sha256", or "git": the SHA-1 of a
    git blob) and hexadecimal value, where the hub tells one.
    """

    name: str
    url: str
    size: int
    digest: tuple[str, str] | None


@dataclass(frozen=True)
class Hub:
    """Where repositories are: its address and its token are taken from the environment."""

    title: str
    address: str
    variable: str
    token: str
    files: Callable[[Web], Iterator[Remote]]

    def web(self, repo: str) -> Web:
        """The way to the repository `repo`, an owner/name. ValueError for a wrong address."""
        endpoint = os.environ.get(self.variable, "").strip().rstrip("/") or self.address
        if not re.match(r"https?://\w", endpoint):
            raise ValueError(
                f"{self.variable} is {endpoint!r}, which is no address: give one like "
                f"{self.address}"
            )
        return Web(self.title, repo, endpoint, self.variable, self.token)


def _hugging_face(web: Web) -> Iterator[Remote]:
    found = web.json(f"{web.endpoint}/api/models/{web.repo}/revision/main?blobs=true")
    # files of one commit, whatever is pushed meanwhile
    base = f"{web.endpoint}/{web.repo}/resolve/{found['sha']}"
    for f in found["siblings"]:
        lfs = f.get("lfs")
        digest = ("sha256", lfs["sha256"]) if lfs else ("git", f["blobId"])
        yield Remote(f["rfilename"], f"{base}/{quote(f['rfilename'])}", f["size"], digest)


def _model_scope(web: Web) -> Iterator[Remote]:
    base = f"{web.endpoint}/api/v1/models/{web.repo}/repo"
    found = web.json(f"{base}/files?Revision=master")
    if not found.get("Success", True):
        raise PullError(f"{web.hub} has no {web.repo}: check the name")
    for f in found["Data"]["Files"]:
        if f["Type"] == "blob":
            asked = urlencode({"Revision": "master", "FilePath": f["Path"]})
            digest = ("sha256", f["Sha256"]) if f.get("Sha256") else None
            yield Remote(f["Path"], f"{base}?{asked}", f["Size"], digest)


HUBS = {
    "hf": Hub(
        "Hugging Face", "https://huggingface.co", "HF_ENDPOINT", "HF_TOKEN", files=_hugging_face
    ),
    "ms": Hub(
        "ModelScope",
        "https://modelscope.cn",
        "MODELSCOPE_ENDPOINT",
        "MODELSCOPE_API_TOKEN",
        files=_model_scope,
    ),
}


def repository(name: str) -> tuple[Hub, str]:
    """The hub and the owner/name that a user's `name` means. ValueError for anything else."""
    hub, colon, repo = name.partition(":")
    if not colon:
        hub, repo = "hf", name
    repo = SHORT.get(repo.lower(), repo)
    if hub not in HUBS or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo):
        raise ValueError(
            f"{name!r} is no model's name: give {', '.join(SHORT)}, or an owner/name of Hugging "
            "Face (hf:owner/name) or ModelScope (ms:owner/name)"
        )
    return HUBS[hub], repo


def needed(hub: Hub, web: Web) -> list[Remote]:
    """The files that make up the model, small ones first: those of the top folder alone.

    PullError where there is no model in them.
    """
    found = [f for f in _read(hub, web) if NEEDED.fullmatch(f.name)]
    names = [f.name for f in found]
    if "config.json" not in names or not any(n.endswith(".safetensors") for n in names):
        raise PullError(
            f"{web.repo} on {web.hub} holds no model that is read here: config.json and "
            "safetensors files are needed"
        )
    return sorted(found, key=lambda f: (f.size, f.name))


def _read(hub: Hub, web: Web) -> list[Remote]:
    try:
        found: list[Any] = list(hub.files(web))
        assert all(isinstance(f.size, int) and isinstance(f.name, str) for f in found)
    except (KeyError, TypeError, AssertionError):
        raise PullError(
            f"the list of files of {web.repo} is not in the form of {web.hub}: does "
            f"{hub.variable} name a mirror of it?"
        ) from None
    return found
