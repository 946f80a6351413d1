"""Pages in a real browser: the script of the gallery, the policy that stops all others, widths, and colours."""

import html
import json
import re
import shutil
import subprocess
from importlib import resources

import pytest
from sam2adapt.cli.app import main
from test_pages import EVIL, batch, image, labels

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium, on Debian: apt-get install chromium")
_PATIENCE = 120  # seconds

# What a driver has to find out goes into an element of its own; what it presses goes through the page's listeners.
_DRIVER = """<pre id="answer"></pre><script>
const answer = {};
const byId = (id) => document.getElementById(id);
const press = (key) => (document.activeElement || document.body).dispatchEvent(
  new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const set = (id, value) => { byId(id).value = value; byId(id).dispatchEvent(new Event("input", { bubbles: true })); };
const shown = () => [...document.querySelectorAll(".study:not([hidden])")].map((one) => Number(one.dataset.number));
const focus = () => Number(document.activeElement.dataset.number);
%s
byId("answer").textContent = JSON.stringify(answer);
</script>"""


def dom(page, tmp_path, size="1280,900"):
    """The page after its scripts have run."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               f"--window-size={size}", "--virtual-time-budget=2000", "--dump-dom", page.as_uri()]  # fmt: skip
    return subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=True).stdout.decode()


def drive(page, script, tmp_path, size="1280,900"):
    """What a script finds out on a copy of a page whose policy lets it run."""
    content = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    driven = tmp_path / "driven.html"
    driven.write_text(content.replace("</body>", _DRIVER % script + "</body>"), encoding="utf-8")
    found = re.search(r'<pre id="answer">(.*?)</pre>', dom(driven, tmp_path, size), re.DOTALL)
    return json.loads(html.unescape(found[1]))


@pytest.fixture
def gallery(tmp_path):
    out = tmp_path / "gallery.html"
    assert main(["report", str(batch(tmp_path, (8, 7, 8, 9, 8, 2))), "-o", str(out)]) == 0
    return out


@needs_browser
def test_gallery_sorts_filters_and_marks(gallery, tmp_path):
    answer = drive(gallery, """
answer.tools = !document.querySelector(".tools").hidden;
answer.all = shown();
set("order", "small"); answer.small = shown();
set("order", "large"); answer.large = shown();
set("order", "flags"); answer.flags = shown();
set("from", "2.6"); set("to", "3"); answer.range = shown();
set("from", ""); set("to", ""); set("show", "flagged"); answer.flagged = shown();
set("show", "all"); set("search", "FAILED"); answer.search = shown(); answer.count = byId("count").textContent;
set("search", ""); set("order", "number");
document.querySelector('[data-number="2"]').click(); answer.clicked = focus();
press("m"); press("ArrowRight"); answer.right = focus(); press("M"); press("End"); answer.end = focus();
answer.marked = byId("marked").textContent; answer.address = location.hash;
set("show", "marked"); answer.onlyMarked = shown(); set("show", "unmarked"); answer.unmarked = shown();
set("show", "all"); press("Home"); answer.home = focus(); press("n"); answer.next = focus();
press("Enter"); answer.open = byId("large").open; answer.large_pictures = byId("large").querySelectorAll("img").length;
press("ArrowLeft"); answer.title = byId("large").querySelector("h3").textContent;
press("Enter"); answer.closed = !byId("large").open;
press("/"); answer.searching = document.activeElement.id;
""", tmp_path)  # fmt: skip
    assert answer == {
        "tools": True, "all": [1, 2, 3, 4, 5, 6, 7, 8], "small": [6, 2, 1, 3, 5, 4, 7, 8],
        "large": [4, 1, 3, 5, 2, 6, 7, 8], "flags": [6, 7, 8, 1, 2, 3, 4, 5], "range": [1, 3, 5],
        "flagged": [6, 7, 8], "search": [7], "count": "1 of 8 studies", "clicked": 2, "right": 3, "end": 8,
        "marked": "2, 3", "address": "#marked=2,3", "onlyMarked": [2, 3], "unmarked": [1, 4, 5, 6, 7, 8], "home": 1,
        "next": 6, "open": True, "large_pictures": 3, "title": "Study 5", "closed": True, "searching": "search",
    }  # fmt: skip


@needs_browser
def test_own_script_runs_and_no_other(gallery, tmp_path):
    foreign = '<script>document.title = "1"</script><img src="x" onerror="document.title = 2" style="color: red">'
    gallery.write_text(gallery.read_text("utf-8").replace("<footer>", foreign + "<footer>"), "utf-8")
    content = dom(gallery, tmp_path)
    assert "<title>Segmentations of a batch</title>" in content
    assert "8 of 8 studies</output>" in content  # written by the page's script


@needs_browser
def test_marks_come_back_with_the_address(gallery, tmp_path):
    copy = tmp_path / "copy.html"
    copy.write_text(gallery.read_text("utf-8").replace("location.hash.match", '"#marked=3,5".match'), "utf-8")
    answer = drive(copy, 'answer.marked = byId("marked").textContent;', tmp_path)
    assert answer["marked"] == "3, 5"


@needs_browser
def test_nothing_is_wider_than_a_narrow_window(gallery, tmp_path):
    source = image(tmp_path / "x.nii.gz")
    given = labels(tmp_path / "x.seg.nrrd", source, ("a" * 200, EVIL))
    case = tmp_path / "case.html"
    assert main(["report", str(source), "--labels", str(given), "-o", str(case), "--show-names"]) == 0
    for page in (gallery, case):
        script = "answer.inner = innerWidth; answer.width = document.documentElement.scrollWidth;"
        answer = drive(page, script, tmp_path, size="400,900")
        assert answer["width"] <= answer["inner"], page.name


def test_colours_can_be_read():
    """Contrast of texts at least 4.5 : 1 by WCAG, in light, dark and print."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    style = resources.files("sam2adapt.reporting").joinpath("page.css").read_text("utf-8")
    palettes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", style)]
    assert len(palettes) == 3
    for palette in palettes:
        for ink in ("ink", "faint", "warn", "mark"):
            for paper in ("paper", "card"):
                low, high = sorted((luminance(palette[ink]), luminance(palette[paper])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper, palette)
