"""The file of finished pieces of work: what is written is read back, what is torn or damaged counts as not there."""

import pytest

from limes.core.errors import StoreError
from limes.store.ledger import Ledger


def test_entries_survive_and_are_exact(tmp_path):
    ledger = Ledger(tmp_path / "new" / "draws.jsonl")
    assert len(ledger) == 0 and not ledger.path.exists()
    values = {"loss": [0.1, 1e-300, 2.0 / 3.0]}
    ledger["a"], ledger["b"] = values, [1]
    again = Ledger(ledger.path)
    assert dict(again) == {"a": values, "b": [1]} and "c" not in again
    again["a"] = [2]
    assert Ledger(ledger.path)["a"] == [2], "the last entry of a key counts"


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_line_is_not_there_and_swallows_nothing(tmp_path, cut):
    ledger = Ledger(tmp_path / "draws.jsonl")
    ledger["a"], ledger["b"] = [1.5] * 9, [2.5] * 9
    data = ledger.path.read_bytes()
    ledger.path.write_bytes(data[:-cut])
    torn = Ledger(ledger.path)
    # Without its last character, the end of the line, the entry is still whole.
    assert list(torn) == (["a", "b"] if cut == 1 else ["a"])
    torn["c"] = [3.5]
    assert Ledger(ledger.path)["c"] == [3.5] and Ledger(ledger.path)["a"] == [1.5] * 9


def test_a_flipped_byte_is_noticed(tmp_path):
    ledger = Ledger(tmp_path / "draws.jsonl")
    ledger["a"], ledger["b"] = [1.25], [2.25]
    ledger.path.write_text(ledger.path.read_text().replace("1.25", "7.25"))
    assert list(Ledger(ledger.path)) == ["b"]
    ledger.path.write_bytes(b"\xff\xfe nothing\n" + ledger.path.read_bytes())
    assert list(Ledger(ledger.path)) == ["b"]


def test_what_cannot_be_done_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Ledger(tmp_path / "file" / "draws.jsonl")["a"] = 1
    with pytest.raises(StoreError, match="cannot be read"):
        Ledger(tmp_path)
    with pytest.raises(StoreError, match="never removed"):
        del Ledger(tmp_path / "x")["a"]
