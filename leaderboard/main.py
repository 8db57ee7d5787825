"""Opening the board: which database, which address."""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

DEFAULT_MODELS = ("atlas",)
OWN = Path("palimpsest.db")
PUBLISHED = Path(__file__).resolve().parent.parent / "db" / "published.db"


class NoDatabase(Exception):
    """There is nothing to show: one sentence."""


def choose_database(asked: str | None) -> tuple[str, str]:
    """The database to open and what to call it: the one asked for, else the user's own in this folder, else the
    published one. Raises NoDatabase."""
    if asked:
        return asked, _public_name(asked)
    if OWN.exists():
        return str(OWN), f"{OWN} in this folder"
    from db.published import published

    found = published(PUBLISHED)
    if found is not None:
        return str(found), "the published results"
    raise NoDatabase(
        f"no results to show: there is no {OWN} in this folder and no published one; `python -m runner run` writes "
        "one, or name another with --db."
    )


def _public_name(asked: str) -> str:
    """What every visitor may read: a file's name without its folder, of a server the database's name alone."""
    if "://" not in asked:
        return Path(asked).name
    from sqlalchemy.engine import make_url

    url = make_url(asked)
    return Path(url.database or "").name or url.get_backend_name()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="app.py", description="Open the board.", epilog="example: python app.py --db results.db --open"
    )
    parser.add_argument("--db", default=os.environ.get("PALIMPSEST_DB"), help="SQLite file or SQLAlchemy URL")
    parser.add_argument(
        "--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), help="address to listen on"
    )
    parser.add_argument("--port", type=int, default=None, help="port; without it the first free one from 7860")
    parser.add_argument(
        "--model", dest="models", action="append", default=[],
        help="a model the playground offers: a name, a folder or a Hub id; may be repeated (default: atlas)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="where the playground's models run: auto, cpu, cuda, cuda:N")
    parser.add_argument(
        "--inbox", default=os.environ.get("PALIMPSEST_INBOX"), help="folder that takes submissions in; none without it"
    )
    parser.add_argument(
        "--hub-dataset", default=os.environ.get("PALIMPSEST_HUB_DATASET"),
        help="dataset on the Hub (owner/name) that gets a pull request for each submission; on a Space with sign-in",
    )  # fmt: skip
    parser.add_argument("--mcp", action="store_true", help="offer the API to agents, too (needs gradio[mcp])")
    parser.add_argument("--open", action="store_true", help="open a browser")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Open the board and serve it until interrupted. Returns the exit code: 0, or 2 for bad input."""
    options = parse(arguments)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from db.errors import StoreError
    from db.reader import Reader
    from leaderboard.intake.signing_in import hub_dataset

    try:
        if options.mcp and importlib.util.find_spec("mcp") is None:
            raise ValueError('--mcp needs the package mcp: pip install "gradio[mcp]".')
        hub = hub_dataset(options.hub_dataset)
        port = _port(options.host, options.port)
        location, name = choose_database(options.db)
        reader = Reader.open(location)
    except (NoDatabase, StoreError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from starlette.middleware import Middleware

    from leaderboard import board, prefill, theme, twins
    from leaderboard.data import Board

    shown = Board(reader, name)
    from leaderboard.intake.desk import FILE_BYTES, Desk
    from leaderboard.playground.apart import zero_gpu
    from leaderboard.playground.lab import Lab

    lab = Lab(options.models or DEFAULT_MODELS, device=options.device, apart=zero_gpu())
    demo = board.build(shown, lab, Desk(reader.database, options.inbox, hub))
    # The first visitor finds the first table and the findings made. A daemon, so that Ctrl-C doesn't wait for it.
    threading.Thread(
        target=lambda: [twins.table(shown, name, {}) for name in ("leaderboard", "findings")], daemon=True
    ).start()
    try:
        demo.launch(
            server_name=options.host, server_port=port, inbrowser=options.open, share=False, ssr_mode=False,
            theme=theme.theme(), css=theme.CSS, head=theme.HEAD, footer_links=["settings"], show_error=True,
            app_kwargs={
                "routes": twins.routes(shown), "middleware": [Middleware(prefill.Prefilled, demo=demo)]
            },
            mcp_server=options.mcp, max_file_size=FILE_BYTES,
        )  # fmt: skip
    finally:
        reader.close()
    return 0


def _port(host: str, asked: int | None) -> int | None:
    """The port asked for on the command line or in GRADIO_SERVER_PORT, None to let Gradio look for a free one.

    Raises ValueError when it is no port or not free.
    """
    text = str(asked) if asked is not None else os.environ.get("GRADIO_SERVER_PORT", "")
    if not text:
        return None
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise ValueError(f"'{text}' is no port; name one from 1 to 65535 with --port.")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(text)))
        except OSError as error:
            reason = error.strerror or error
            raise ValueError(f"can't listen on {host}:{text} ({reason}); name another with --port.") from error
    return int(text)
