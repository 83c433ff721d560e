"""`limes gallery`: the list, the files of a picture, what it refuses."""

import csv
import json

import pytest

from limes.compare.gallery import GALLERY


def test_list_names_every_picture(limes):
    found = limes("gallery")
    assert found.code == 0
    assert [line.split()[0] for line in found.out.splitlines()] == list(GALLERY)
    assert "arXiv:2205.09653" in found.out and "CPU s" in found.out
    listed = json.loads(limes("gallery", "--json").out)["pictures"]
    assert [row["name"] for row in listed] == list(GALLERY) and all(row["cpu_seconds"] <= 300 for row in listed)


def test_a_picture_is_a_page_an_image_and_numbers(limes, tmp_path):
    found = limes("gallery", "easy-hard", "--reduced", "--out", tmp_path / "new")
    assert found.code == 0, found.err
    assert "On the hard task" in found.out and "arXiv:2409.17858" in found.out and "easy-hard.html" in found.out
    page = (tmp_path / "new" / "easy-hard.html").read_text()
    assert page.startswith("<!") and "Measured beside expected" in page
    content = json.loads((tmp_path / "new" / "easy-hard.json").read_text())
    assert content["name"] == "easy-hard" and content["readings"][0]["expected"] == 0.5
    with (tmp_path / "new" / "easy-hard.csv").open() as file:
        rows = list(csv.DictReader(file))
    drawn = sum(len(curve["x"]) for panel in content["panels"] for curve in panel["curves"])
    assert len(rows) == drawn and float(rows[0]["x"]) == content["panels"][0]["curves"][0]["x"][0]
    pytest.importorskip("matplotlib", reason="the image needs limes[plots]")
    assert b"<svg" in (tmp_path / "new" / "easy-hard.svg").read_bytes()


def test_json_and_nothing_else(limes, tmp_path):
    found = limes("gallery", "kernels", "--reduced", "--out", tmp_path, "--json")
    assert found.code == 0 and found.err == ""
    assert json.loads(found.out)["readings"]


def test_equal_runs_write_equal_images(limes, tmp_path):
    pytest.importorskip("matplotlib", reason="the image needs limes[plots]")
    images = []
    for place in ("one", "two"):
        limes("gallery", "kernels", "--reduced", "--out", tmp_path / place)
        images.append((tmp_path / place / "kernels.svg").read_bytes())
    assert images[0] == images[1]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("nothing",), "there is no such picture; expected one of lazy-rich"),
        (("kernels", "--out", "{file}"), "is a file; give a folder"),
        (("kernels", "--workers", "0"), "workers"),
        (("kernels", "--reduced", "--out", ""), "names no folder"),
        (("kernels", "--out", "{file}/inside"), "is a file; give a folder"),
    ],
)
def test_refusals(limes, tmp_path, arguments, match):
    file = tmp_path / "file"
    file.write_text("")
    found = limes("gallery", *(str(part).format(file=file) for part in arguments))
    assert found.code == 2 and match in found.err and "Traceback" not in found.err
