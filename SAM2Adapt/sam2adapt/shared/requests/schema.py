"""The request of each method of the engine server, and the JSON schema of its parameters."""

import json

from ..protocol import GESTURES
from .actions import Fill, RankVolume, Segment, SegmentBatch, Train
from .fields import Request, definition
from .model_actions import (
    AddModel,
    DescribeModel,
    DownloadBase,
    ExportModel,
    ListBases,
    ListModels,
    RemoveBase,
    RemoveModel,
)
from .report_actions import Report, ReportBatch, WriteDicomSeg
from .server_actions import (
    Cancel,
    Control,
    Correct,
    DeleteKept,
    ListDevices,
    ListKept,
    ListTrainings,
    MeasureCase,
    SeriesFiles,
    Shutdown,
    StopTraining,
    TryModel,
    WarmUp,
)

METHODS: dict[str, type[Request]] = {
    "segment": Segment,
    "segmentBatch": SegmentBatch,
    "seriesFiles": SeriesFiles,
    "fill": Fill,
    "correct": Correct,
    "report": Report,
    "reportBatch": ReportBatch,
    "writeDicomSeg": WriteDicomSeg,
    "rank": RankVolume,
    "tryModel": TryModel,
    "measureCase": MeasureCase,
    "train": Train,
    "estimate": Train,
    "devices": ListDevices,
    "models": ListModels,
    "modelDetails": DescribeModel,
    "addModel": AddModel,
    "removeModel": RemoveModel,
    "exportModel": ExportModel,
    "bases": ListBases,
    "downloadBase": DownloadBase,
    "removeBase": RemoveBase,
    "warmUp": WarmUp,
    "trainings": ListTrainings,
    "stopTraining": StopTraining,
    "kept": ListKept,
    "deleteKept": DeleteKept,
    "cancel": Cancel,
    "control": Control,
    "shutdown": Shutdown,
}

_VECTOR = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
_NUMBERS_ABOVE_0 = {"type": "number", "exclusiveMinimum": 0}
_PARTS = {
    "path": {"type": "string", "minLength": 1, "pattern": "^[^\\u0000]+$"},
    "names": {"type": "array", "items": {"type": "string", "minLength": 1}},
    "slices": {"type": "array", "items": {"type": "integer", "minimum": 0}},
    "vector": _VECTOR,
    "input": {
        "type": "object",
        "additionalProperties": False,
        "required": ["array", "origin", "spacing", "direction"],
        "properties": {
            "array": {"$ref": "#/$defs/path", "description": ".npy, (K, J, I), or (K, J, I, 3) for colour"},
            "name": {"type": "string"},
            "origin": {"$ref": "#/$defs/vector"},
            "spacing": {**_VECTOR, "items": _NUMBERS_ABOVE_0},
            "direction": {
                "description": "Rows L, P, S of the unit vectors of I, J, K as columns",
                **_VECTOR,
                "minItems": 9,
                "maxItems": 9,
            },
            "modality": {"enum": ["CT", "MR", "RGB", ""]},
        },
    },
    "class": {
        "type": "object",
        "additionalProperties": False,
        "required": ["id", "name"],
        "properties": {
            "id": {"type": "integer"},
            "name": {"type": "string", "pattern": "\\S"},
            "optional": {"type": "boolean", "description": "Leave it out if no label shows it"},
            "terminology": {
                "type": "string",
                "description": "Slicer's serialized entry; left out: as known for the name",
            },
            "color": {**_VECTOR, "items": {"type": "number", "minimum": 0, "maximum": 1}},
        },
    },
    "gesture": {
        "type": "object",
        "additionalProperties": False,
        "required": ["kind", "positive", "voxels"],
        "properties": {
            "kind": {"enum": list(GESTURES)},
            "positive": {"type": "boolean", "description": "The voxels belong to the structure; else they do not"},
            "voxels": {
                "description": "I, J, K of each, counted from 0; of a box two opposite corners, both in it; of what"
                " is drawn, each connected piece in a slice counts by itself",
                "type": "array",
                "minItems": 1,
                "items": {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3},
            },
        },
    },
    "split": {
        "type": "object",
        "additionalProperties": False,
        "required": ["train", "val"],
        "properties": {
            "train": {"$ref": "#/$defs/names"},
            "val": {"$ref": "#/$defs/names"},
            "val_slices": {
                "description": "Of training cases, the slices that are kept for validation; as a model's card has it",
                "type": "object",
                "additionalProperties": {"$ref": "#/$defs/slices"},
            },
        },
    },
}


def schema(limits: bool = True) -> dict:
    """JSON schema of the parameters of all methods of the engine server, a definition for each method.

    :param limits: see ``fields.definition``.
    """
    first: dict[type[Request], str] = {}
    definitions = dict(_PARTS)
    for method, request in METHODS.items():
        if request in first:
            definitions[method] = {"$ref": f"#/$defs/{first[request]}"}
        else:
            first[request] = method
            text = " ".join((request.__doc__ or "").split())
            definitions[method] = {"description": text, **definition(request, limits)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Parameters of the engine server's methods",
        "description": "One definition a method of `sam2adapt serve`, printed by `python -m"
        " sam2adapt.shared.requests.schema`. Lengths in millimetres, directions LPS, paths absolute.",
        "$defs": definitions,
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2, ensure_ascii=False))
