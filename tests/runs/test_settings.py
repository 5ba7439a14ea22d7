"""Settings: words into typed records, and every mistake told in a sentence."""

from __future__ import annotations

import dataclasses
import math

import pytest
import yaml

from quasistatic.errors import InputError
from quasistatic.recipes.base import LEAST
from quasistatic.recipes.catalogue import CATALOGUE, find
from quasistatic.runs.settings import make_recipe, parse_words, to_plain


def test_words_mean_what_they_look_like():
    read = parse_words(["a=3", "b=1e-3", "c=true", "d=no", "e=text", "f=x=y", "g.h=-2.5"])
    assert read == {"a": 3, "b": "1e-3", "c": True, "d": False, "e": "text", "f": "x=y", "g.h": -2.5}


@pytest.mark.parametrize("word", ["steps", "=3", "", "--x"])
def test_a_word_without_a_key_or_value_is_refused(word):
    with pytest.raises(InputError, match="key=value, got"):
        parse_words([word])


@pytest.mark.parametrize("word", ["n_steps=[", "n_steps={a", "a=@b", "a='", "a=!!python/name:os.system x"])
def test_a_value_that_is_no_yaml_is_refused(word):
    with pytest.raises(InputError, match="cannot be read"):
        parse_words([word])


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_a_configuration_survives_its_file(name):
    for preset in (None, *CATALOGUE[name].presets):
        recipe = make_recipe(name, preset=preset)
        kept = yaml.safe_load(yaml.safe_dump(to_plain(recipe)))
        assert make_recipe(name, kept) == recipe


def test_later_layers_win_over_preset_and_catalogue():
    recipe = make_recipe("swiss-roll", {"width": 5, "train.n_updates": 7}, {"train": {"n_updates": 8, "batch_size": 9}})
    assert (recipe.width, recipe.train.n_updates, recipe.train.batch_size) == (5, 8, 9)  # type: ignore[attr-defined]
    demo = make_recipe("swiss-roll", {"train.n_updates": 3}, preset="demo")
    assert demo.train.n_updates == 3
    assert demo.n_test == CATALOGUE["swiss-roll"].presets["demo"]["n_test"]  # type: ignore[attr-defined]
    paper = make_recipe("swiss-roll-paper", {"place": "no"})
    assert (paper.network, paper.place) == ("paper", "no")  # type: ignore[attr-defined]


def test_numbers_come_in_any_spelling():
    recipe = make_recipe("swiss-roll", parse_words(["noise=1e-2", "train.learning_rate=1", "place=no"]))
    assert recipe.noise == 0.01  # type: ignore[attr-defined]
    assert isinstance(recipe.train.learning_rate, float)
    assert recipe.place == "no"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nonsense=1", "there is no setting 'nonsense'; known here are .*n_steps"),
        ("train.nonsense=1", "there is no setting 'train.nonsense'; known here are .*batch_size"),
        ("noise.x=1", "there is no setting 'noise.x'; noise has no parts"),
        ("train=5", "train is a group of settings, train.KEY=VALUE sets one; got 5"),
        ("n_steps=2.5", "n_steps must be a whole number, got 2.5"),
        ("n_steps=many", "n_steps must be a whole number, got 'many'"),
        ("n_steps=true", "n_steps must be a whole number, got True"),
        ("n_steps=", "n_steps must be a whole number, got None"),
        ("n_steps=[2]", r"n_steps must be a whole number, got \[2\]"),
        ("noise=loud", "noise must be a number, got 'loud'"),
        ("noise=true", "noise must be a number, got True"),
        ("network=huge", "network must be one of residual, paper, got 'huge'"),
        ("network=[paper]", r"network must be one of residual, paper, got \['paper'\]"),
        ("train.importance=3", "train.importance must be true or false, got 3"),
        ("train.n_updates=0", "n_updates must be at least 1, got 0"),
        ("noise=0", "noise must be positive and finite, got 0.0"),
        ("noise=.nan", "noise must be positive and finite, got nan"),
        ("log_snr_max=.inf", "log_snr_max must be finite, got inf"),
        ("n_steps=1", "n_steps must be at least 2, got 1"),
    ],
)
def test_a_wrong_setting_is_told_in_one_sentence(word, said):
    with pytest.raises(InputError, match=said) as told:
        make_recipe("swiss-roll", parse_words([word]))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_every_count_has_a_least_value(name):
    recipe = make_recipe(name)
    for field in dataclasses.fields(recipe):
        if field.type != "int" or field.name in ("split", "split_seed"):
            continue
        assert make_recipe(name, {field.name: max(2, LEAST[field.name])})
        with pytest.raises(InputError, match=f"{field.name} must be at least"):
            make_recipe(name, {field.name: LEAST[field.name] - 1})


@pytest.mark.parametrize("dropout", [-0.1, 1.0, math.nan])
def test_dropout_is_a_share(dropout):
    with pytest.raises(InputError, match="dropout must be at least 0 and below 1"):
        make_recipe("digits", {"dropout": dropout})


@pytest.mark.parametrize("name", ["swiss-roll", "heartbeat-paper", "array"])
def test_an_unknown_preset_is_refused_also_where_there_are_none(name):
    with pytest.raises(InputError, match=f"recipe {name} has no preset 'nonsense'; it has"):
        make_recipe(name, preset="nonsense")


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"there is no recipe 'swiss'; there are swiss-roll, .*array"):
        find("swiss")
