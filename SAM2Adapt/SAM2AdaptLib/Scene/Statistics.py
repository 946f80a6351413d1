"""What a segmentation measures: volume of each segment, and the intensity of the image in it."""

import numpy as np
import slicer
from slicer.i18n import tr as _

from SAM2AdaptLib.Scene import LabelExport, LabelMaps

_DECIMALS = {"ml": 2, "mean": 1, "minimum": 1, "maximum": 1, "voxels": 0}


def measure(volumeNode, segmentationNode, segmentIds=None):
    """Volume and intensity of segments; segments may overlap and lie on another grid than the image.

    :param volumeNode: image whose intensities are measured; of a colour image they are not.
    :param segmentationNode: any segmentation.
    :param segmentIds: IDs of the segments to measure, in this order; None: all.
    :return: list of dicts: "segmentId", "structure" (name), "ml" (volume on the grid of the segmentation), "voxels"
      (number of voxels of the image in the segment), and "mean", "minimum", "maximum" (their intensity, None where
      there is no voxel).
    :raises VolumeError, GeometryError, ClassesError: as ``LabelExport.exportLabels``.
    """
    segmentation = segmentationNode.GetSegmentation()
    segmentIds = list(segmentation.GetSegmentIDs() if segmentIds is None else segmentIds)
    millilitres = LabelMaps.segmentVolumes(segmentationNode)
    intensities = {}
    for layer in LabelMaps.layers(segmentation, segmentIds):
        intensities |= _layerIntensities(volumeNode, segmentationNode, layer)
    return [
        {
            "segmentId": segmentId,
            "structure": segmentation.GetSegment(segmentId).GetName(),
            "ml": millilitres[segmentId],
            **intensities[segmentId],
        }
        for segmentId in segmentIds
    ]


def asText(rows):
    """Rows of ``measure`` as a table for the clipboard: a header, tabulators, a full stop as decimal sign."""
    header = [_("Structure"), _("Volume (mL)"), _("Mean"), _("Minimum"), _("Maximum"), _("Voxels")]
    lines = [header] + [[row["structure"], *(_number(row, key) for key in _DECIMALS)] for row in rows]
    return "\n".join("\t".join(" ".join(cell.split("\t")) for cell in line) for line in lines) + "\n"


def _number(row, key):
    return "" if row[key] is None else f"{row[key]:.{_DECIMALS[key]}f}"


def _layerIntensities(volumeNode, segmentationNode, segmentIds):
    """Dict from segment ID to "voxels", "mean", "minimum" and "maximum"."""
    labels = LabelExport.exportLabels(volumeNode, segmentationNode, segmentIds)
    image = slicer.util.arrayFromVolume(volumeNode)
    size = len(segmentIds) + 1
    counts, sums = np.zeros(size, np.int64), np.zeros(size)
    lows, highs = np.full(size, np.inf), np.full(size, -np.inf)
    isGrey = image.ndim == 3
    # Plane by plane, because the sums are made in 64 bits.
    for k, plane in enumerate(labels):
        inside = plane > 0
        values = plane[inside]
        counts += np.bincount(values, minlength=size)
        if isGrey and values.size:
            grey = image[k][inside].astype(np.float64)
            sums += np.bincount(values, grey, minlength=size)
            np.minimum.at(lows, values, grey)
            np.maximum.at(highs, values, grey)
    return {
        segmentId: {
            "mean": float(sums[n] / counts[n]) if isGrey and counts[n] else None,
            "minimum": float(lows[n]) if isGrey and counts[n] else None,
            "maximum": float(highs[n]) if isGrey and counts[n] else None,
            "voxels": int(counts[n]),
        }
        for n, segmentId in enumerate(segmentIds, start=1)
    }
