"""One request to a hub: the token stays with the hub, and what goes wrong is said in a sentence."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 30.0
# answers that may be others a little later
PASSING = (408, 425, 429, 500, 502, 503, 504)
# longest wait that a hub may ask for before the next attempt
LONGEST_WAIT_S = 60.0


class PullError(RuntimeError):
    """What ends a pull; the message says what to do."""


class Flaky(Exception):
    """What may go better at the next attempt. wait: seconds that the hub asks for, 0 where it does
    not.
    """

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class OutOfRange(Exception):
    """The hub has no bytes from there on."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Carries the token along on the same host alone: files come from other hosts, signed."""

    def redirect_request(  # noqa: D102
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None and _place(newurl) == _place(req.full_url):
            for name, value in req.unredirected_hdrs.items():
                if name != "Host":
                    found.add_unredirected_header(name, value)
        return found


def _place(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


@dataclass(frozen=True)
class Web:
    """The way to one repository. hub: its name; token: the environment variable of its token."""

    hub: str
    repo: str
    endpoint: str
    variable: str
    token: str

    def open(self, url: str, start: int = 0) -> http.client.HTTPResponse:
        """The answer to a GET, from byte `start` on where the hub can do that (its status is then
        206). PullError for what will not change by itself, Flaky for what may, OutOfRange.
        """
        request = urllib.request.Request(url, headers={"User-Agent": "flashling"})
        if start:
            request.add_header("Range", f"bytes={start}-")
        if secret := os.environ.get(self.token, "").strip():
            request.add_unredirected_header("Authorization", f"Bearer {secret}")
        try:
            return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise Flaky(self._unreachable(error)) from None

    def json(self, url: str) -> Any:
        """A parsed answer; errors as `open`."""
        with self.open(url) as answer:
            try:
                return json.load(answer)
            except (OSError, http.client.HTTPException) as error:
                raise Flaky(self._unreachable(error)) from None
            except ValueError:
                raise PullError(
                    f"{self._host} does not answer as {self.hub} does: is it a mirror of it? "
                    f"{self.variable} names another"
                ) from None

    @property
    def _host(self) -> str:
        return urlsplit(self.endpoint).netloc or self.endpoint

    def _unreachable(self, error: Exception) -> str:
        why = getattr(error, "reason", None) or error
        why = getattr(why, "strerror", None) or str(why) or type(error).__name__
        return (
            f"{self._host} cannot be reached ({why}): check the network, or name a mirror in "
            f"{self.variable}"
        )

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        code, hub, name = error.code, self.hub, self.repo
        if code == 416:
            return OutOfRange()
        if code == 429:
            said = f"{hub} has had too many requests (429): wait some minutes and run again"
            return Flaky(said, _asked(error.headers.get("Retry-After")))
        if code in PASSING:
            return Flaky(f"{hub} is in trouble ({code}): run again later")
        remedy = (
            f"check the token in {self.token}"
            if os.environ.get(self.token)
            else f"set {self.token} to yours"
        )
        said = {
            401: f"{name} is not known to {hub}, or asks for a token (401): check the name, or "
            f"{remedy}",
            403: f"{hub} refuses {name} (403): accept its terms on its page, and {remedy}",
            404: f"{hub} has no {name} (404): check the name",
        }
        return PullError(said.get(code, f"{hub} refuses {name} ({code})"))


def _asked(seconds: str | None) -> float:
    return min(float(seconds), LONGEST_WAIT_S) if seconds and seconds.isdigit() else 0.0
