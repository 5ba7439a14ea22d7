"""Settings of a recipe from ``key=value`` words and YAML."""

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
    """Build a recipe from its catalogue entry and settings.

    Keys reach into groups with a dot, such as ``train.n_updates``.

    Parameters
    ----------
    name : str
        Name of the recipe.
    *layers : dict
        Settings; later ones replace earlier ones.
    preset : str, optional
        A named set of settings, applied before the layers.

    Raises
    ------
    InputError
        If the recipe, the preset, a setting or its value is not known.
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
    """Parse ``key=value`` words.

    Values are YAML: 3, 1e-3, true and text have their usual meanings.
    """
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
    """Return all settings as nested plain data."""
    plain = dataclasses.asdict(recipe)
    return {key: list(value) if type(value) is tuple else value for key, value in plain.items()}


def settings_help(name: str) -> str:
    """List the settings of a recipe with their defaults."""
    recipe = make_recipe(name)
    words = [f"{key}={'null' if value is None else value}" for key, value in _flat(to_plain(recipe)).items()]
    lines = [f"settings of the recipe {name} (--set KEY=VALUE), with their defaults:", *textwrap.wrap(", ".join(words), 100)]
    if note := recipe.settings_note():
        lines.append(note)
    return "\n".join(lines)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if type(key) is not str:
            raise InputError(f"the name of a setting must be text, got {shown(key)}")
        flat |= _flat(value, f"{prefix}{key}.") if type(value) is dict and value else {f"{prefix}{key}": value}
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
    if type(None) in choices:  # an optional setting
        return None if value is None else _checked(value, choices[0], key)
    if typing.get_origin(kind) is tuple:
        whole = [value] if type(value) is choices[0] else value
        if type(whole) not in (list, tuple) or not whole or any(type(part) is not choices[0] for part in whole):
            raise InputError(f"{key} must be a list such as [32, 64] of whole numbers, got {shown(value)}")
        return tuple(whole)
    if typing.get_origin(kind) is typing.Literal:
        value = {False: "no", True: "yes"}[value] if type(value) is bool else value
        if value not in choices:
            raise InputError(f"{key} must be one of {', '.join(map(str, choices))}, got {shown(value)}")
        return value
    if kind is float and type(value) in (int, float, str):
        try:
            return float(value)  # YAML reads 1e-3 as text
        except (OverflowError, ValueError):
            pass
    if type(value) is not kind:  # a bool is not a whole number here
        raise InputError(f"{key} must be {_article(kind.__name__)}, got {shown(value)}")
    return value


def _article(kind: str) -> str:
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
    return words.get(kind, f"a {kind}")
