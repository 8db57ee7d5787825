"""A Hub on localhost: the calls huggingface_hub makes to open, list and fetch pull requests, and a sign-in provider."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

TOKEN, USER = "oauth-of-ada", "ada"


class FakeHub(ThreadingHTTPServer):
    """One dataset. pulls: title, author and files by path of each. status: answer everything with it. mode: how a file
    is uploaded, "regular" or "lfs". merged: files on main."""

    daemon_threads = True

    def __init__(self, dataset: str = "palimpsest/submissions", mode: str = "regular") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.dataset, self.mode = dataset, mode
        self.pulls: list[dict[str, Any]] = []
        self.merged: dict[str, bytes] = {}
        self.large: dict[str, bytes] = {}
        self.nonces: dict[str, str] = {}
        self.status = 0
        self.calls: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def open(self, title: str, author: str, files: dict[str, bytes]) -> int:
        """Open a pull request as huggingface_hub doesn't have to be asked to."""
        self.pulls.append({"title": title, "author": author, "files": files})
        return len(self.pulls)


@contextmanager
def serving(**options: Any) -> Iterator[FakeHub]:
    hub = FakeHub(**options)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        hub, url = self.server, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(url.path)
        hub.calls.append(f"{self.command} {path}")
        if path.startswith(("/.well-known", "/oauth")):
            return self._sign_in(path, parse_qs(url.query), parse_qs(body.decode()))
        if hub.status:
            return self._json({"error": "no"}, hub.status)
        name = hub.dataset
        authorised = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if path == f"/api/datasets/{name}/discussions":
            return self._json(self._discussions())
        if path.startswith(f"/datasets/{name}/resolve/"):
            return self._file(path.removeprefix(f"/datasets/{name}/resolve/"))
        if path.startswith("/lfs/"):
            hub.large[path.removeprefix("/lfs/")] = body
            return self._json({})
        if not authorised:
            return self._json({"error": "Invalid credentials in Authorization header"}, 401)
        if path == f"/api/datasets/{name}/preupload/main":
            files = [{"path": f["path"], "uploadMode": hub.mode, "shouldIgnore": False} for f in _load(body)["files"]]
            return self._json({"files": files})
        if path == f"/datasets/{name}.git/info/lfs/objects/batch":
            objects = [
                {**one, "actions": {"upload": {"href": f"{hub.address}/lfs/{one['oid']}"}}}
                for one in _load(body)["objects"]
            ]
            return self._json({"transfer": "basic", "objects": objects})
        if path == f"/api/datasets/{name}/commit/main" and "create_pr=1" in url.query:
            return self._commit([_load(line) for line in body.splitlines()])
        return self._json({"error": "not found"}, 404)

    def _discussions(self) -> dict[str, Any]:
        listed = [
            {
                "title": pull["title"], "num": number, "author": {"name": pull["author"]}, "status": "open",
                "createdAt": "2026-01-01T00:00:00.000Z", "isPullRequest": True,
                "repo": {"name": self.server.dataset, "type": "dataset"},
            }
            for number, pull in enumerate(self.server.pulls, 1)
        ]  # fmt: skip
        return {"count": len(listed), "start": 0, "discussions": listed}

    def _file(self, place: str) -> None:
        if place.startswith("refs/pr/"):
            number, _, path = place.removeprefix("refs/pr/").partition("/")
            content = self.server.pulls[int(number) - 1]["files"].get(path)
        else:
            content = self.server.merged.get(place.removeprefix("main/"))
        if content is None:
            return self._json({"error": "no file"}, 404, {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": '"x"', "X-Repo-Commit": "1" * 40, "Content-Length": str(len(content))}
        return self._send(200, content, headers)

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
        number = self.server.open(lines[0]["value"]["summary"], USER, files)
        base = f"{self.server.address}/datasets/{self.server.dataset}"
        made = {"commitUrl": f"{base}/commit/{'2' * 40}", "commitOid": "2" * 40}
        return self._json(made | {"pullRequestUrl": f"{base}/discussions/{number}"})

    def _sign_in(self, path: str, query: dict[str, list[str]], form: dict[str, list[str]]) -> None:
        """OpenID Connect, as little of it as a sign-in needs. Everybody is Ada."""
        from joserfc import jwt

        here, hub = self.server.address, self.server
        if path == "/.well-known/openid-configuration":
            return self._json(
                {
                    "issuer": here, "authorization_endpoint": f"{here}/oauth/authorize",
                    "token_endpoint": f"{here}/oauth/token", "jwks_uri": f"{here}/oauth/jwks",
                    "id_token_signing_alg_values_supported": ["RS256"],
                }
            )  # fmt: skip
        if path == "/oauth/authorize":
            hub.nonces["code"] = query["nonce"][0]
            hub.calls.append(f"scope {query['scope'][0]}")
            back = f"{query['redirect_uri'][0]}&{urlencode({'code': 'code', 'state': query['state'][0]})}"
            return self._send(302, b"", {"Location": back, "Content-Length": "0"})
        if path == "/oauth/jwks":
            return self._json({"keys": [signing_key().as_dict(private=False, kid="k", use="sig")]})
        now = int(time.time())
        claims = {
            "iss": here, "sub": "1", "aud": "client", "iat": now, "exp": now + 900, "name": "Ada Example",
            "preferred_username": USER, "profile": f"{here}/{USER}", "picture": "",
            "nonce": hub.nonces[form["code"][0]],
        }  # fmt: skip
        token = jwt.encode({"alg": "RS256", "kid": "k"}, claims, signing_key())
        return self._json(
            {
                "access_token": TOKEN, "token_type": "bearer", "expires_in": 900, "id_token": token,
                "scope": "openid profile write-discussions",
            }
        )  # fmt: skip

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        more = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
        self._send(status, content, more)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _load(text: bytes) -> Any:
    return json.loads(text)


_keys: list[Any] = []


def signing_key() -> Any:
    """The key of the sign-in provider."""
    from joserfc.jwk import RSAKey

    if not _keys:
        _keys.append(RSAKey.generate_key(2048, {"kid": "k"}))
    return _keys[0]
