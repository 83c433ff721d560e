"""`limes spectrum`: flags that do not go together end in one sentence, before anything is trained."""

import pytest


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--batch", "b.pt"], "belong to --module"),
        (["--module", "nowhere.py:build"], "needs --batch"),
        (["--module", "nowhere.py:build", "--batch", "b.pt"], "no such file"),
        (["--samples", "10"], "at least 50"),
        (["--data", "corpus", "--widths", "20"], "multiples of 16"),
        (["--data", "corpus", "--parametrizations", "nobody"], "unknown"),
        (["--data", "nothing"], "expected digits"),
        (["--module", "nowhere.py:build", "--batch", "b.pt", "--widths", "8"], "--widths says nothing about a network"),
        (["--module", "nowhere.py:build", "--batch", "b.pt", "--data", "digits"], "--data says nothing"),
        (["--data", "corpus", "--activation", "relu"], "--activation says nothing about --data corpus"),
        (["--modes", "8"], "--modes says nothing about --data digits"),
        (["--activation", "step"], "limes: activation 'step': expected one of relu"),
    ],
)
def test_bad_flags(limes, flags, words, tmp_path) -> None:
    done = limes("spectrum", *flags, "--out", str(tmp_path / "page.html"))
    assert done.code == 2 and words in done.err and "Traceback" not in done.err
    assert not (tmp_path / "page.html").exists()
