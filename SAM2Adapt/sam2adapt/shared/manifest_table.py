"""The table of a batch. It needs only Python, so that Slicer can write it, too."""

import csv
import io


def table(rows: list[dict]) -> str:
    """The rows of a manifest as CSV: a line for each study, with a column for the volume of each structure.

    :param rows: as ``batch.manifest.Records.rows`` returns them; other keys are left out.
    """
    names = list(dict.fromkeys(s["name"] for row in rows for s in row["structures"]))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        ["input", "series", "output", "status", "message", "seconds", "slices", "model", "digest",
         *(f"{name} (mL)" for name in names)]
    )  # fmt: skip
    for row in rows:
        sizes = {s["name"]: s["ml"] for s in row["structures"]}
        seconds = round(sum(row["seconds"].values()), 3) if row["seconds"] else ""
        fields = [row[key] for key in ("input", "series", "output", "status", "message")]
        fields += [seconds, row["slices"], row["model"], row["digest"], *(sizes.get(name) for name in names)]
        writer.writerow(["" if value is None else value for value in fields])
    return text.getvalue()
