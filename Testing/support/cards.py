"""The card that tests give a model; what a test is about, it changes."""

from sam2adapt.imaging.terminology import Structure, describe

STRUCTURES = [describe(1, "right lung"), describe(7, "left lung"), describe(3, "heart")]


def model_card(structures: list[Structure] = STRUCTURES, base: dict | None = None, **changes) -> dict:
    """A valid card; ``slices`` and ``postprocessing`` in ``changes`` replace single fields of these."""
    card = {
        "format": "sam2adapt-bundle",
        "schema_version": 1,
        "name": "test",
        "version": "1.0.0",
        "description": "Random weights, for tests.",
        "license": "Apache-2.0",
        "created": "2026-01-01T00:00:00+00:00",
        "parent": None,
        "method": {"name": "dual-lw", "settings": {}},
        "base": base or {"id": "small-test", "sha256": "0" * 64},
        "classes": [structure.to_json() for structure in structures],
        "modality": "CT",
        "slices": {
            "orientation": "LPS",
            "axis": "acquisition",
            "spacing": None,
            "size": 32,
            "context": 1,
            "normalization": {"kind": "percentile", "low": 0.5, "high": 99.5},
        },
        "network": {"peg": "add", "train_upscaling": False},
        "postprocessing": {"largest_component": [], "fill_holes": [], "minimum_ml": 0.0},
        "training": {
            "data": {},
            "split": {"train": [], "val": []},
            "seed": 0,
            "settings": {},
            "software": {},
            "minutes": None,
        },
        "metrics": None,
    }
    for field in ("slices", "postprocessing"):
        card[field] |= changes.pop(field, {})
    return card | changes
