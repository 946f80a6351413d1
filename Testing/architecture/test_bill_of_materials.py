"""The bill of materials names what the installer brings; its command is in the folder of the requirements."""

import json
import runpy
from pathlib import Path

MAKER = Path(__file__).resolve().parents[1] / "requirements" / "bill_of_materials.py"


def test_bill_of_materials_is_that_of_the_lock():
    made = runpy.run_path(str(MAKER))
    stored = json.loads(made["TARGET"].read_text("utf-8"))["components"]
    assert [one["name"] for one in stored] == list(made["packages"]())
    locked = made["hashes"]()
    assert [one["name"] for one in stored if not one["hashes"]] == []
    assert [one["name"] for one in stored if {h["content"] for h in one["hashes"]} != set(locked[one["name"]])] == []
    silent = [one["name"] for one in stored if one["licenses"][0]["license"]["name"] == "not stated"]
    assert silent == ["cuda-toolkit"]  # NVIDIA's, which holds nothing but the names of other packages
