"""Assembling the folder of a Hugging Face Space: the board, the runner and a database, and nothing that is private."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from db.published import PACKED, PLAIN, pack
from db.shipping import ship
from runner.bundle.export import cleaned
from runner.datasets import base as datasets
from runner.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("leaderboard", "runner", "db", "docs")
FILES = (
    "app.py", "requirements.txt", "constraints.txt", "Dockerfile", ".dockerignore", "LICENSE", "README.md",
    "CITATION.cff", "CHANGELOG.md",
)  # fmt: skip
KINDS = frozenset(".py .md .txt .yaml .json .csv .ini .mako .cff .svg .png .safetensors".split())
TEXTS = KINDS - {".png", ".safetensors"}
SECRETS = re.compile(
    rb"\bhf_[A-Za-z0-9]{30,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}|\bAKIA[A-Z0-9]{16}\b"
    rb"|\bsk-[A-Za-z0-9_-]{32,}|\bxox[abp]-[A-Za-z0-9-]{20,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
# `/home/you` is how examples are written.
PATHS = re.compile(rb"(?<![\w.~:/-])/(?:home/(?!you\b)|Users/|root/|work/|mnt/|scratch/)\w[\w./-]*")
SHARED = re.compile(r"^(Apache-2\.0|MIT|BSD|CC0|CC[ -]BY(-SA)?[ -]4\.0)\b")
MOST_LISTED = 5


@dataclass(frozen=True)
class Assembled:
    """folder, number of files and their bytes, and the data sets in the database."""

    folder: Path
    files: int
    size: int
    datasets: list[str]


def assemble(out: Path, database: Path, licensed: Iterable[str] = (), root: Path = ROOT) -> Assembled:
    """Write the Space's folder, as a whole or not at all.

    database: a SQLite file. licensed: data sets that may be shared although their licence isn't known here.
    Raises UserError where anything in it is a secret, a path of somebody's machine, or data that may not be shared.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already; name a folder that is new or empty.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as temporary:
        folder = Path(temporary) / "space"
        _copy_code(root, folder)
        plain = Path(temporary) / PLAIN.name
        names = ship(database, plain, cleaned)
        problems = [*unlicensed(names, licensed), *private(folder), *private_in(plain, "the database")]
        if problems:
            more = f" and {len(problems) - MOST_LISTED} more" if len(problems) > MOST_LISTED else ""
            raise UserError(f"nothing was written: {'; '.join(problems[:MOST_LISTED])}{more}.")
        pack(plain, folder / "db" / f"{PLAIN.name}{PACKED}")
        (folder / "README.md").write_text(front_matter() + _readme(root), encoding="utf-8")
        if out.exists():
            out.rmdir()
        shutil.move(str(folder), str(out))
    found = [path for path in out.rglob("*") if path.is_file()]
    return Assembled(out, len(found), sum(path.stat().st_size for path in found), sorted(set(names.values())))


def front_matter(gradio: str | None = None) -> str:
    """What tells Hugging Face how to start the Space. gradio: its version; None for the one that is installed here.

    The Python is one that the free GPUs (ZeroGPU) have, too. The scope lets the board open a pull request for a
    visitor who signs in, and nothing else.
    """
    from importlib.metadata import version

    fields = {
        "title": "Palimpsest",
        "sdk": "gradio",
        "sdk_version": gradio or version("gradio"),
        "python_version": "3.12.12",
        "app_file": "app.py",
        "license": "apache-2.0",
        "short_description": "Knowledge editing of language models, measured",
        "hf_oauth": "true",
        "hf_oauth_scopes": "[write-discussions]",
    }
    return "---\n" + "".join(f"{name}: {value}\n" for name, value in fields.items()) + "---\n\n"


def unlicensed(names: Mapping[str, str], licensed: Iterable[str]) -> Iterator[str]:
    """Data sets (hash -> name) whose cases are in the database and whose licence doesn't let them be shared."""
    allowed = {name.casefold() for name in licensed}
    for name in sorted(set(names.values())):
        info = datasets.info(name) if name.casefold() in datasets.names() else None
        licence = info.licence if info is not None else "not known"
        if name.casefold() not in allowed and not SHARED.match(licence):
            yield f"the database holds cases of {name}, whose licence is: {licence} (--licensed {name} if you may)"


def private(folder: Path) -> Iterator[str]:
    """Secrets and paths of somebody's machine in the texts of a folder."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in TEXTS or path.name in FILES:
            yield from private_in(path, str(path.relative_to(folder)))


def private_in(path: Path, name: str) -> Iterator[str]:
    """The same for one file, of any kind."""
    content = path.read_bytes()
    if SECRETS.search(content):
        yield f"{name} holds what looks like a secret"
    found = PATHS.search(content)
    if found:
        yield f"{name} holds the path {found.group()[:60].decode('utf-8', 'replace')}"


def push(folder: Path, space: str) -> str:
    """Upload the folder to a Space ("owner/name") with the token of this machine. Returns its address."""
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    if get_token() is None:
        raise UserError("there is no Hugging Face token here; set HF_TOKEN, or run `hf auth login` first.")
    api = HfApi()
    try:
        api.create_repo(space, repo_type="space", space_sdk="gradio", exist_ok=True)
        api.upload_folder(repo_id=space, repo_type="space", folder_path=folder, delete_patterns="*")
    except (HfHubHTTPError, OSError, ValueError) as problem:
        raise UserError(f"the folder could not be uploaded to {space}: {problem}") from problem
    return f"https://huggingface.co/spaces/{space}"


def _copy_code(root: Path, folder: Path) -> None:
    for name in FILES:
        if (root / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)
    for room in ROOMS:
        for path in sorted((root / room).rglob("*")):
            if path.suffix in KINDS and path.is_file() and "__pycache__" not in path.parts:
                target = folder / path.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


def _readme(root: Path) -> str:
    """The project's page, without front matter of its own."""
    text = (root / "README.md").read_text(encoding="utf-8")
    return re.sub(r"\A---\n.*?\n---\n+", "", text, flags=re.DOTALL)
