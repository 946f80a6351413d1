"""The entry for Slicer's Extensions Index, checked by the rules of its validator; and links in pages lead somewhere."""

import json
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRY = REPOSITORY / "SAM2Adapt.json"
CMAKE = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
LARGEST = 100_000_000  # bytes of a checkout
PAGES = ("README.md", "Documentation/*.md", "Resources/*.md", "Resources/models/*.md", "Testing/README.md")
JARGON = ("SAM 2", "SAM2", "adapter", "network", "Dice", "prompt", "fine-tun", "checkpoint", "inference")


def description():
    return re.search(r'set\(EXTENSION_DESCRIPTION "([^"]+)"\)', CMAKE)[1]


def test_entry_has_the_form_of_the_schema():
    """Of version 1.0.1: these keys and no others."""
    text = ENTRY.read_bytes()
    entry = json.loads(text)
    assert b"\r" not in text
    assert entry.pop("$schema").endswith("slicer-extension-catalog-entry-schema-v1.0.1.json#")
    assert entry == {
        "build_dependencies": ["PyTorch"], "build_subdirectory": ".", "category": "Segmentation",
        "scm_revision": "main",
        "scm_url": "https://github.com/SAM2Adapt/SlicerSAM2Adapt.git", "tier": 1,
    }  # fmt: skip


def test_entry_extension_and_repository_have_the_names_that_the_index_wants():
    assert f"project({ENTRY.stem})" in CMAKE and not ENTRY.stem.startswith("Slicer")
    repository = json.loads(ENTRY.read_text("utf-8"))["scm_url"].rpartition("/")[2]
    assert repository.startswith("Slicer")
    assert f"{repository.removesuffix('.git')}" in re.search(r'EXTENSION_HOMEPAGE "([^"]+)"', CMAKE)[1]
    assert (REPOSITORY / "LICENSE").read_text("utf-8").lstrip().startswith("Apache License")


def test_description_is_for_people_who_know_no_machine_learning():
    assert not [word for word in JARGON if word.lower() in description().lower()]
    for words in ("patented", "CC BY-SA 4.0", "Apache License 2.0", "own computer", "Not a medical device"):
        assert words in description()


def test_readme_names_each_module_and_says_where_data_stay():
    top = "\n".join((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()[:20])
    for words in ("SAM2 Auto-Segment", "SAM2 Adapter Training", "Fill from drawn slices", "All data stays", "privacy"):
        assert words in top
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_checkout_is_small_enough():
    command = ["git", "-C", str(REPOSITORY), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("needs a git checkout")
    files = [REPOSITORY / name for name in listed.stdout.decode().split("\0") if name]
    assert sum(file.stat().st_size for file in files if file.is_file()) < LARGEST


@pytest.mark.parametrize("page", sorted(path for pattern in PAGES for path in REPOSITORY.glob(pattern)), ids=str)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        place, _, anchor = target.partition("#")
        file = (page.parent / place) if place else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def anchors(page):
    """The names that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
