"""The methods by name. Built-in ones are listed here and imported when asked for; others come from outside.

A third party adds a method with `@register` in a module of their own, named as `package.module:Class`, as a path to a
`.py` file, or by an entry point in the group "palimpsest.methods". Nothing here imports torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TypeVar

from runner.errors import UserError, did_you_mean, user_path
from runner.methods import easyedit
from runner.methods.base import Method

M = TypeVar("M", bound=type[Method])

ENTRY_POINTS = "palimpsest.methods"

# The paper's name of each built-in method, and the module that registers it; in the order a table shows them.
BUILT_IN = {
    "none": "runner.methods.none",
    "FT-L": "runner.methods.ft_l",
    "FT-M": "runner.methods.ft_m",
    "LocFT-BF": "runner.methods.locft_bf",
    "LoRA": "runner.methods.lora",
    "AdaLoRA": "runner.methods.lora",
    "retrain": "runner.methods.retrain",
    "ROME": "runner.methods.rome",
    "R-ROME": "runner.methods.r_rome",
    "RECT": "runner.methods.rect",
    "MEMIT": "runner.methods.memit",
    "MEND": "runner.methods.mend",
    "UltraEdit": "runner.methods.ultraedit",
    "EMMET": "runner.methods.emmet",
    "PMET": "runner.methods.pmet",
    "AlphaEdit": "runner.methods.alphaedit",
    "GRACE": "runner.methods.grace",
    "WISE": "runner.methods.wise",
    "IKE": "runner.methods.ike",
    "ICE": "runner.methods.ice",
    "SCR": "runner.methods.scr",
    "MultiHop-SCR": "runner.methods.multihop",
}

_registered: dict[str, type[Method]] = {}


def register(cls: M) -> M:
    """Class decorator: make a method known by its `name` (case does not matter). A name can be taken only once."""
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not issubclass(cls, Method):
        raise UserError(f"{cls.__module__}.{cls.__qualname__} is not a method: it needs Method as a base and a name.")
    built_in = next((module for key, module in BUILT_IN.items() if key.lower() == name.lower()), None)
    if built_in is not None and cls.__module__ != built_in:
        raise UserError(f"'{name}' is a built-in method; give the one in {cls.__module__} another name.")
    known = _registered.get(name.lower())
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise UserError(f"two methods are named '{name}': {known.__module__} and {cls.__module__}; rename one.")
    _registered[name.lower()] = cls
    return cls


def names() -> list[str]:
    """All known names: the built-in methods, installed entry points, and whatever has been registered so far."""
    found = {name.lower(): name for name in BUILT_IN}
    for name in [*_entry_points(), *easyedit.names(), *(cls.name for cls in _registered.values())]:
        found.setdefault(name.lower(), name)
    return list(found.values())


def get(name: str) -> type[Method]:
    """The method of a name, of `package.module:Class`, of a `.py` file, or of two names joined by "+" (a hybrid).

    Raises UserError with a hint otherwise.
    """
    if name.endswith(".py"):
        return _from_file(user_path(name))
    if "+" in name:
        from runner.methods.hybrid import compose

        return compose(name)
    if name.lower().startswith(easyedit.PREFIX):
        return easyedit.get(name)
    if ":" in name:
        return _from_module(name)
    key = name.lower()
    if key not in _registered:
        module = next((module for known, module in BUILT_IN.items() if known.lower() == key), None)
        points = {point_name.lower(): point for point_name, point in _entry_points().items()}
        if module is not None:
            importlib.import_module(module)
        elif key in points:
            _load_entry_point(points[key], key)
    if key not in _registered:
        raise UserError(f"unknown method '{name}'; known: {', '.join(names())}.{did_you_mean(name, names())}")
    return _registered[key]


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _load_entry_point(point: EntryPoint, key: str) -> None:
    try:
        loaded = point.load()
    except Exception as error:  # a third party's module may fail in any way
        raise UserError(f"method '{point.name}' ({point.value}) cannot be imported: {error}") from error
    if isinstance(loaded, type) and issubclass(loaded, Method):
        register(loaded)
    if key not in _registered:
        raise UserError(f"the entry point '{point.name}' ({point.value}) registers no method of that name.")


def _from_module(name: str) -> type[Method]:
    module_name, _, class_name = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # a third party's module may fail in any way
        raise UserError(f"method '{name}' cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(f"'{name}' is not a method: it needs runner.methods.base.Method as a base.")
    return register(found)


def _from_file(path: Path) -> type[Method]:
    if not path.is_file():
        raise UserError(f"no method file at {path}; give a .py file that defines a class with @register.")
    module_name = f"palimpsest_method_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path.resolve())
    if spec is None or spec.loader is None:
        raise UserError(f"{path} cannot be imported as a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:  # a third party's module may fail in any way
        raise UserError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    found = [cls for cls in _registered.values() if cls.__module__ == module_name]
    if len(found) != 1:
        raise UserError(f"{path} must register exactly one method with @register, it registers {len(found)}.")
    return found[0]
