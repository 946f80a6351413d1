"""Prints what inputs give now: the table of rows that people have, and the count of the two matrices.

python Testing/engine/imaging/input_tables.py [--cells]

--cells prints every cell of the matrices as well. Needs the environment of Testing/environment.sh.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "support"), str(HERE.parents[2] / "SAM2Adapt")]


def main() -> None:
    """Print the tables."""
    from input_cells import DICOM, FILES
    from input_rows import ROWS, outcome

    print("| kind | input | right | now |\n| --- | --- | --- | --- |")
    for row in ROWS:
        print(f"| {row.kind} | {row.what} | {row.right} | {row.now()} |")
    for name, cells in (("no DICOM", FILES), ("DICOM", DICOM)):
        verdicts = ["no such statement" if c.make is None else "refused" if c.refused else "honoured" for c in cells]
        counts = ", ".join(f"{verdicts.count(word)} {word}" for word in ("honoured", "refused", "no such statement"))
        print(f"\nMatrix of files that are {name}: {len(cells)} cells, {counts}")
        if "--cells" in sys.argv:
            for cell in cells:
                aspect = getattr(cell, "aspect", "") or getattr(cell, "property", "")
                print(f"| {cell.form} | {aspect} | {cell.what} | {outcome(cell)} |")


if __name__ == "__main__":
    main()
