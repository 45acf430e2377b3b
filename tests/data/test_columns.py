"""Columns of texts and ids hold what lists hold."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from mrcnn.data import columns
from mrcnn.data.columns import Ids, Paths, Texts

TEXTS = st.text(st.characters(), max_size=6) | st.just("\ud800")  # half of a surrogate pair too
IDS = st.integers(-(2**63) + 1, 2**63 - 1) | st.integers(0, 4) | TEXTS


@given(st.lists(TEXTS, max_size=8), st.slices(8))
def test_texts_are_a_list(texts: list[str], chosen: slice):
    column = pickle.loads(pickle.dumps(Texts(texts)))
    assert list(column) == texts and len(column) == len(texts)
    assert column[chosen] == texts[chosen]
    assert [column[-k] for k in range(1, len(texts) + 1)] == texts[::-1]
    assert list(column.take(range(len(texts))[chosen])) == texts[chosen]
    assert Paths("a/", column, "!")[chosen] == [f"a/{text}!" for text in texts[chosen]]


@given(st.lists(IDS, max_size=12), IDS)
def test_ids_are_found_where_they_are_first(ids: list[int | str], other: int | str):
    column = Ids(ids)
    copied = pickle.loads(pickle.dumps(column))
    assert list(column) == ids
    for id in (*ids, other):
        expected = ids.index(id) if id in ids else None
        assert column.row(id) == copied.row(id) == expected
        assert (id in column) == (id in ids)
    again = [(k, ids.index(id)) for k, id in enumerate(ids) if ids.index(id) < k]
    assert column.repeated() == min(again, default=None)
    assert list(column.take(range(0, len(ids), 2))) == ids[::2]


def test_what_is_no_id_is_not_found():
    for ids in (Ids([1, 2]), Ids([1, "a"])):
        assert [ids.row(value) for value in (True, 1.0, None, (), "1")] == [None] * 5


def test_a_text_is_not_taken_for_the_number_of_its_digest():
    number = columns._key("a")
    assert Ids([number, "a"]).row("a") == 1 and Ids(["a", number]).row(number) == 1
    assert Ids([number]).row("a") is None and Ids([number, "a"]).repeated() is None
