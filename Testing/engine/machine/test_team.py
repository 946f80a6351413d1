"""What the processes of a team tell each other through torchrun's store."""

import json
import pickle

import pytest
from sam2adapt.machine.team import Team


class Store(dict):
    """A store within one process."""

    def set(self, key: str, value: str | bytes) -> None:
        self[key] = value.encode() if isinstance(value, str) else value

    def get(self, key: str) -> bytes:
        return self[key]


@pytest.fixture
def store(monkeypatch) -> Store:
    store = Store()
    monkeypatch.setattr(Team, "store", lambda team: store)
    return store


def test_all_ranks_share_what_rank_zero_has_made(store):
    made = {"run": "1234", "names": ["ä", "no utf-8 \udcff"], "sizes": [1, None]}
    assert Team(0, 2).share(lambda: made) == made
    assert Team(1, 2).share(lambda: pytest.fail("only rank 0 makes it")) == made
    assert [json.loads(value) for value in store.values()] == [made]


def test_what_is_in_the_store_cannot_run_code(store, tmp_path):
    """Whoever reaches the store's port can write into it."""

    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "attacked"), "w"))

    Team(0, 2).share(lambda: "a place in the store")
    for key in store:
        store.set(key, pickle.dumps(Attack()))
    with pytest.raises(ValueError):
        Team(1, 2).share(lambda: None)
    assert list(tmp_path.iterdir()) == []
