"""The reference's code: imported module by module from a checkout, without the package's own start-up."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.methods.subject import locate
from runner.models.lm import LanguageModel
from runner.protocol import Protocol
from runner.types import Edit

# Imported by checkouts at their top, and not used by what runs here.
NOT_NEEDED = (
    ("matplotlib.style", "context"),
    ("datasets", "load_dataset"),
    ("omegaconf", "DictConfig"),
    ("wandb", "log"),
    ("nltk", "bleu"),
)


class Checkouts:
    """The checkouts given on the command line; each is known by the files in it."""

    def __init__(self, paths: Sequence[Path]) -> None:
        absent = [path for path in paths if not path.is_dir()]
        if absent:
            sys.exit(f"{absent[0]} is no folder: give the path of a checkout.")
        self.paths = [path.resolve() for path in paths]

    def has(self, file: str) -> bool:
        """Whether one of the checkouts holds this file."""
        return any((path / file).is_file() for path in self.paths)

    def module(self, file: str, beside: str | None = None) -> Any:
        """The module in this file, as in "easyeditor/models/rome/rome_main.py", of the first checkout that has it.

        beside: another file by which the right checkout is known, where several hold a file of this name.
        """
        wanted = [file, *([beside] if beside else [])]
        root = next(path for path in self.paths if all((path / name).is_file() for name in wanted))
        for name, attribute in NOT_NEEDED:
            _stand_in(name, attribute)
        parts = Path(file).with_suffix("").parts
        # A name of its own per checkout: two of them may hold a package of the same name.
        name = f"checkout{self.paths.index(root)}"
        _bare_package(name, root)
        _bare_packages(f"{name}.{parts[0]}", root / parts[0], depth=2)
        return importlib.import_module(".".join([name, *parts]))

    def script(self, file: str) -> Any:
        """As `module`, where the checkout's modules name each other as programs started in its root do."""
        root = next(path for path in self.paths if (path / file).is_file())
        before = set(sys.modules)
        sys.path.insert(0, str(root))
        try:
            return self.module(file)
        finally:
            sys.path.remove(str(root))
            for name in set(sys.modules) - before:  # the next checkout may have others of these names
                where = getattr(sys.modules[name], "__file__", None)
                if where and Path(where).is_relative_to(root):
                    del sys.modules[name]


def _bare_packages(name: str, folder: Path, depth: int) -> None:
    """A package and those in it, none of which runs its __init__."""
    _bare_package(name, folder)
    for inner in sorted(folder.iterdir()) if depth else []:
        if (inner / "__init__.py").is_file():
            _bare_packages(f"{name}.{inner.name}", inner, depth - 1)


def _bare_package(name: str, folder: Path) -> None:
    if name not in sys.modules:
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package


def _stand_in(name: str, attribute: str) -> None:
    """An empty module of this name, when the package is not installed."""
    try:
        importlib.import_module(name)
    except ImportError:
        parts = name.split(".")
        for i in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:i]), types.ModuleType(".".join(parts[:i])))
        setattr(sys.modules[name], attribute, None)


def names_of_parts(lm: LanguageModel) -> dict[str, str]:
    """Module names as the references want them, "{}" for the layer."""
    structure = lm.structure
    block = structure.block_names[0].removesuffix("0") + "{}"
    listed = dict(lm.model.named_parameters())  # a head that shares its weight with the embedding is not
    rewrite = structure.mlp_out(0).module_name.replace(structure.block_names[0], block)
    return {
        "rewrite_module_tmp": rewrite,
        "layer_module_tmp": block,
        "mlp_module_tmp": rewrite.rpartition(".")[0],
        "attn_module_tmp": block,
        "ln_f_module": structure.final_norm_name,
        "lm_head_module": structure.head_name if f"{structure.head_name}.weight" in listed else structure.embed_name,
    }


def request(edit: Edit, protocol: Protocol, whole: bool = False) -> dict[str, Any]:
    """An edit as the references take it; whole: with the subject in the prompt and not "{}"."""
    fact = locate(edit, protocol)
    prompt = fact.text if whole else f"{fact.before}{{}}{fact.after}"
    return {"prompt": prompt, "subject": fact.subject, "target_new": fact.target, "case_id": 0}
