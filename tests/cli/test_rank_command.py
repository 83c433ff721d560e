"""`limes rank`: the ranking of a store, its page, and what it refuses."""

import json
from pathlib import Path

from limes.spec import parse_study
from limes.store import Member, NewRun, Store
from support.store_worker import result

SIZES = (32, 64, 128, 256)
OFFSET = {"standard": 0.05, "mup": 0.0}


def write_store(folder: Path, **extra: object) -> Path:
    """A finished study over width: valleys at 2^-5, one lower than the other, with a little noise."""
    panel = {"axis": "width", "sizes": list(SIZES), "seeds": [2] * 4, "parametrizations": [{"name": n} for n in OFFSET]}
    study = parse_study({"name": "made-up", "panels": [panel], **extra}, name="test")
    runs, members, losses = [], [], {}
    for name in OFFSET:
        for k, size in enumerate(SIZES):
            for seed in range(2):
                for log2_lr in (-7.0, -6.0, -5.0, -4.0, -3.0):
                    key = f"{name}-{size}-{seed}-{log2_lr}"
                    wiggle = 0.003 * (-1) ** (k + seed)
                    losses[key] = 2.0 + 10.0 / size + OFFSET[name] + wiggle + 0.05 * (log2_lr + 5) ** 2
                    runs.append(NewRun(key=key, spec={}, cost=1.0, steps=10, num_params=12 * size**2, num_tokens=1000,
                                       flops=6000.0 * 12 * size**2))  # fmt: skip
                    members.append(
                        Member(axis="width", parametrization=name, size=size, seed=seed, log2_lr=log2_lr, key=key)
                    )
    with Store.create(folder) as store:
        store.set_note("study", json.dumps(study.to_dict()))
        store.add_runs(runs)
        store.add_members(members)
        while claim := store.claim("worker"):
            assert store.record(claim, result(losses[claim.key]))
    return folder


def test_the_better_parametrization_comes_first_on_screen_in_the_file_and_on_the_page(limes, tmp_path: Path) -> None:
    folder, page = write_store(tmp_path / "out"), tmp_path / "rank.html"
    told = limes("rank", folder, "--report", page)
    assert told.code == 0 and "mup, tuned at the smallest, buys the lowest loss" in told.out
    assert "it is ahead of standard" in told.out
    text = page.read_text()
    assert "What does the same budget buy?" in text and "ranking-width-curves" in text
    assert "extrapolation" not in told.out
    for flops, words in (("1e300", "times the most that mup"), ("1", "pays for no run of mup")):
        assert words in limes("rank", folder, "--flops", flops).out
    outcome = limes("rank", folder, "--json", "--loss", "2.2", "--flops", "1e9")
    assert outcome.code == 0
    (ranking,) = json.loads(outcome.out)["rankings"]
    assert ranking["target_loss"] == 2.2 and ranking["budget_flops"] == 1e9
    assert ranking["families"][0]["parametrization"] == "mup"


def test_verdicts_of_a_study_of_consistency_stand_beside_the_ranking(limes, tmp_path: Path) -> None:
    folder, page, found = write_store(tmp_path / "out"), tmp_path / "rank.html", tmp_path / "consistency.json"
    found.write_text(json.dumps({"parametrizations": [{"label": "mup", "sentence": "mup: one path."}]}))
    outcome = limes("rank", folder, "--consistency", found, "--report", page)
    assert outcome.code == 0 and "path, mup: one path." in outcome.out and "mup: one path." in page.read_text()
    content = json.loads(limes("rank", folder, "--consistency", found, "--json").out)
    assert content["paths"] == [{"parametrization": "mup", "sentence": "path, mup: one path."}]
    found.write_text("[1]")
    assert "is no consistency.json" in limes("rank", folder, "--consistency", found).err
    assert "cannot be read" in limes("rank", folder, "--consistency", tmp_path / "nothing.json").err


def test_bad_requests_are_one_sentence(limes, tmp_path: Path) -> None:
    folder = write_store(tmp_path / "out")
    for arguments, word in (
        (["--axis", "height"], "the study has width"),
        (["--flops", "-1"], "positive, finite"),
        (["--loss", "nan"], "positive, finite"),
        (["--level", "90"], "expected a probability"),
        (["--report", str(tmp_path)], "is a folder"),
    ):
        outcome = limes("rank", folder, *arguments)
        assert outcome.code == 2 and word in outcome.err and "Traceback" not in outcome.err
    assert limes("rank", tmp_path / "nothing").code == 3
    swept = write_store(tmp_path / "swept", swept={"field": "weight_decay", "log2_lr": -6})
    assert "sweeps weight_decay" in limes("rank", swept).err
