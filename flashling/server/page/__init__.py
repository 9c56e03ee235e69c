"""The page of the server: static files read once, and the headers each is served with."""

from __future__ import annotations

from functools import cache
from pathlib import Path

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# a document in a frame inherits its parent's policy when it has no address of its own, so generated
# pages live below this one: their scripts run, without an origin, a network or a way out
PREVIEW_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'self' 'unsafe-inline';"
    " style-src 'unsafe-inline'; img-src data: blob:; media-src data: blob:; font-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
INDEX, PREVIEW, PREVIEW_SCRIPT = "/", "/page/preview.html", "/page/preview.js"


@cache
def files() -> dict[str, tuple[bytes, str]]:
    """All files of the page: path -> (bytes, content type). The start page is at `/`."""
    found = {}
    for item in Path(__file__).parent.iterdir():
        kind = TYPES.get(item.suffix)
        if kind is not None:
            path = INDEX if item.name == "index.html" else f"/page/{item.name}"
            found[path] = (item.read_bytes(), kind)
    return found


def headers(path: str) -> dict[str, str]:
    """What a server sends with a file of the page, beside its type and what it sends with all."""
    out = {"content-security-policy": PREVIEW_POLICY if path == PREVIEW else POLICY}
    if path == PREVIEW_SCRIPT:
        # its reader is the preview, which has no origin and so is never the same as this one
        out["cross-origin-resource-policy"] = "cross-origin"
    return out
