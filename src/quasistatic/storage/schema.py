"""Schemas of files in JSON.

A schema is a dictionary from keys to checks. A check takes the name of a key and its value, and returns the value or
raises an :class:`~quasistatic.errors.InputError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from quasistatic.checks import real_number, shown, whole_number
from quasistatic.errors import InputError

__all__ = ["Check", "Optional", "a_list", "a_name", "a_number", "a_record", "a_text", "a_whole", "anything"]

Check = Callable[[str, Any], Any]


@dataclass(frozen=True)
class Optional:
    """A check of a key that may be null or missing.

    A ``required`` key may be null but not missing.
    """

    check: Check
    required: bool = False


def anything(name: str, value: Any) -> Any:
    """Accept any value."""
    return value


def a_text(name: str, value: Any) -> str:
    """Check text."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, got {shown(value)}")
    return value


def a_name(name: str, value: Any) -> str:
    """Check the name of an entry of the same folder.

    Separators, "." and "..", and zero bytes are refused.
    """
    bad = not isinstance(value, str) or value in ("", ".", "..") or len(value) > 200 or set(value) & {"/", "\\", "\0"}
    if bad:
        raise InputError(f"{name} must be the name of an entry of the same folder, got {shown(value)}")
    return value


def a_whole(least: int = 0, most: int = 2**63 - 1) -> Check:
    """Return a check of a whole number in a range."""
    return partial(_whole, least=least, most=most)


def _whole(name: str, value: Any, *, least: int, most: int) -> int:
    return whole_number(name, value, least, most)


def a_number(name: str, value: Any) -> float:
    """Check a finite number."""
    return real_number(name, value)


def a_list(of: Check, least: int = 0) -> Check:
    """Return a check of a list whose entries pass ``of``."""

    def check(name: str, value: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) < least:
            raise InputError(f"{name} must be a list{f' of at least {least}' if least else ''}, got {shown(value)}")
        return [of(f"{name}[{i}]", entry) for i, entry in enumerate(value)]

    return check


def a_record(schema: Mapping[str, Check | Optional] | None = None) -> Check:
    """Return a check of an object against a schema.

    Keys that are not in the schema are kept.
    """

    def check(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise InputError(f"{name} must be an object with keys, got {shown(value)}")
        record = dict(value)
        for key, rule in (schema or {}).items():
            place = f"{name}.{key}" if name != "it" else f"the key {key!r}"
            required, check_of = (rule.required, rule.check) if isinstance(rule, Optional) else (True, rule)
            if required and key not in record:
                raise InputError(f"{place} is missing")
            if record.get(key) is not None or not isinstance(rule, Optional):
                record[key] = check_of(place, record[key])
        return record

    return check
