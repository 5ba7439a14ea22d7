"""Settings of a recipe: ``key=value`` words laid over a dataclass, and YAML to keep them in."""

from __future__ import annotations

import dataclasses
import importlib
import textwrap
import typing
from typing import Any

from quasistatic.checks import shown
from quasistatic.errors import InputError
from quasistatic.storage.files import plain_yaml
from quasistatic.recipes.catalogue import find
from quasistatic.recipes.base import Recipe

__all__ = ["make_recipe", "parse_words", "settings_help", "to_plain"]


def make_recipe(name: str, *layers: dict[str, Any], preset: str | None = None) -> Recipe:
    """Build a recipe from its catalogue entry, a preset, and layers of settings, later ones on top.

    Keys may reach into nested records with a dot, such as ``train.n_updates``.
    """
    entry = find(name)
    module, cls = entry.where.split(":")
    recipe = getattr(importlib.import_module(f"quasistatic.recipes.{module}"), cls)()
    if preset is not None and preset not in entry.presets:
        raise InputError(f"recipe {name} has no preset {preset!r}; it has {', '.join(entry.presets) or 'none'}")
    for layer in (entry.settings, entry.presets.get(preset or "", {}), *layers):
        for key, value in _flat(layer).items():
            recipe = _with(recipe, key.split("."), value, key)
    return recipe


def parse_words(words: list[str]) -> dict[str, Any]:
    """Read ``key=value`` words; values are YAML, so 3, 1e-3, true and text all mean what they look like."""
    settings = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise InputError(f"a setting is written key=value, got {word!r}")
        try:
            settings[key] = plain_yaml(value)
        except InputError as error:
            raise InputError(f"the value of the setting {shown(word)} cannot be read: {error}") from None
    return settings


def to_plain(recipe: Recipe) -> dict[str, Any]:
    """All settings as nested plain data, for ``config.yaml``."""
    plain = dataclasses.asdict(recipe)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def settings_help(name: str) -> str:
    """List the settings of a recipe with their defaults, for the help of the command."""
    recipe = make_recipe(name)
    words = [f"{key}={'null' if value is None else value}" for key, value in _flat(to_plain(recipe)).items()]
    lines = [f"settings of the recipe {name} (--set KEY=VALUE), with their defaults:", *textwrap.wrap(", ".join(words), 100)]
    if note := recipe.settings_note():
        lines.append(note)
    return "\n".join(lines)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if not isinstance(key, str):
            raise InputError(f"the name of a setting must be text, got {shown(key)}")
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def _with(record: Any, path: list[str], value: Any, key: str) -> Any:
    name, *rest = path
    known = [f.name for f in dataclasses.fields(record)]
    if name not in known:
        raise InputError(f"there is no setting {key!r}; known here are {', '.join(known)}")
    if rest:
        inner = getattr(record, name)
        if not dataclasses.is_dataclass(inner):
            raise InputError(f"there is no setting {key!r}; {name} has no parts")
        value = _with(inner, rest, value, key)
    else:
        value = _checked(value, typing.get_type_hints(type(record))[name], key)
    return dataclasses.replace(record, **{name: value})


def _checked(value: Any, kind: Any, key: str) -> Any:
    if dataclasses.is_dataclass(kind):
        raise InputError(f"{key} is a group of settings, {key}.KEY=VALUE sets one; got {shown(value)}")
    choices = typing.get_args(kind)
    if type(None) in choices:  # a setting that may be left to the recipe
        return None if value is None else _checked(value, choices[0], key)
    if typing.get_origin(kind) is tuple:
        whole = [value] if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(whole, list | tuple) or not whole or any(type(part) is not choices[0] for part in whole):
            raise InputError(f"{key} must be a list such as [32, 64] of whole numbers, got {shown(value)}")
        return tuple(whole)
    if typing.get_origin(kind) is typing.Literal:
        value = {False: "no", True: "yes"}.get(value, value) if isinstance(value, bool) else value
        if value not in choices:
            raise InputError(f"{key} must be one of {', '.join(map(str, choices))}, got {shown(value)}")
        return value
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3 as text
        except (OverflowError, ValueError):
            pass
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{key} must be {_article(kind.__name__)}, got {shown(value)}")
    return value


def _article(kind: str) -> str:
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
    return words.get(kind, f"a {kind}")
