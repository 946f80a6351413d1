"""SAM2Adapt engine: prompt-free segmentation of CT and MR volumes with adapted SAM2 networks."""

__version__ = "0.1.0"
