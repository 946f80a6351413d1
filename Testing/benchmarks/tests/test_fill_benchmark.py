"""The benchmark of filling: a structure that one method misses must not make its HD95 the better one."""

import numpy as np
import pytest
from fill import FIELDS, measure, write_table
from fill_cases import FillCase
from fill_peers import PEERS
from sam2adapt.imaging.volume import Volume


def _row(method: str, case: str, hd95: str, dice: float = 0.5) -> dict:
    row = dict.fromkeys(FIELDS, "1") | {"set": "pairs", "part": "val", "density": "three", "pixel": "1.0"}
    return row | {"method": method, "case": case, "hd95": hd95, "dice": f"{dice}", "expected": f"{dice}"}


def _rows(**distances: tuple[str, str]) -> list[dict]:
    return [_row(method, f"case{k}", own) for method, cases in distances.items() for k, own in enumerate(cases)]


def test_only_structures_that_both_found_are_compared_by_hd95(tmp_path):
    table = tmp_path / "fill.md"
    peers = {"distances": ("9.00;9.00", "9.00;9.00"), "grow": ("9.00;9.00", "9.00;9.00")}

    write_table(table, _rows(**peers, between=("3.00;nan", "nan;nan"), ours=("2.00;10.00", "2.00;8.00")))
    text = table.read_text("utf-8")
    assert "0.500 (3.0, 3 missed)" in text  # between
    assert "0.500 (5.5)" in text  # ours: mean of 6 and 5
    assert "structures that both found: none." in text

    write_table(table, _rows(**peers, between=("3.00;nan", "nan;2.00"), ours=("4.50;10.00", "2.00;4.50")))
    assert "structures that both found: pairs, three: +2.0 mm beside between." in table.read_text("utf-8")

    # Nothing to find is not missed.
    write_table(table, _rows(**peers, between=("3.00;", "nan;2.00"), ours=("4.50;", "2.00;2.00")))
    text = table.read_text("utf-8")
    assert "0.500 (2.5, 1 missed)" in text
    assert "0.500 (3.2)" in text
    assert "structures that both found: none." in text


def test_a_mean_of_an_older_run_is_not_compared_with_structures(tmp_path):
    rows = _rows(distances=("9.00",), grow=("9.00;9.00",), between=("9.00;9.00",), ours=("9.00;9.00",))
    with pytest.raises(ValueError, match=r"pairs case0, three: 2 and 1 values of HD95.*take it out of the CSV"):
        write_table(tmp_path / "fill.md", rows)


def test_a_row_has_the_hd95_of_each_structure(monkeypatch):
    truth = np.zeros((5, 8, 8), np.uint8)
    truth[:, 2:6, 2:6] = 1
    truth[2, 0, 0] = 2  # between the drawn slices 0 and 4
    truth[0, 0, 7] = 3  # on a drawn slice alone
    filled = truth.copy()
    filled[1:4, 2:6, 6] = 1
    filled[2, 0, 0] = 0
    monkeypatch.setitem(PEERS, "made up", lambda case, drawn: filled)
    volume = Volume(truth[None].astype(np.float32), np.zeros(3), np.ones(3), np.eye(3), "made up")

    row = measure(FillCase("made up", "one", volume, truth), "4", "made up")

    assert row["hd95"] == "1.00;nan;"
    assert row["dice"] == f"{(2 * 48 / 108 + 0) / 2:.4f}"
