"""What every test has: a store of answers of its own, never the user's."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def not_the_users_answers(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["RARFT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def own_answers(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RARFT_CACHE", str(tmp_path_factory.mktemp("cache")))
