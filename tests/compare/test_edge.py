"""The edge of stability across widths, in a reduced form."""

import pytest

from limes.compare.edge import edge_study
from limes.core.errors import SpecError
from limes.report.edge import answer_lines, edge_page


@pytest.fixture(scope="module")
def study():
    return edge_study(
        widths=(32, 64, 256), parametrizations=("mup", "ntk", "standard"), optimizers=("sgd",), num_steps=600
    )


def test_mup_trains_at_the_edge_at_every_width(study) -> None:
    assert study.at_the_edge("mup", "sgd") and not study.fades("mup", "sgd")
    assert all(curve.limit == pytest.approx(2.0) for curve in study.curves)


def test_sharpening_fades_in_the_lazy_parametrization(study) -> None:
    assert study.fades("ntk", "sgd") and not study.at_the_edge("ntk", "sgd")


def test_curvature_follows_one_path_in_mup_and_not_in_the_lazy_parametrization(study) -> None:
    """Super consistency, by a slow second computation of the distance between the widths' paths."""
    spread = {name: study.spread(name, "sgd") for name in ("mup", "ntk", "standard")}
    assert spread["mup"][0] < 0.5 * spread["ntk"][0], spread
    assert spread["mup"][1] < 0.5 * spread["standard"][1], spread
    ratios = [curve.ratio for curve in study.of("ntk", "sgd")]
    apart = [max(values) - min(values) for values in zip(*ratios)]
    assert spread["ntk"][0] == pytest.approx(sum(apart) / len(apart))
    losses = [curve.loss / curve.loss[0] for curve in study.of("mup", "sgd")]
    apart = [max(values) - min(values) for values in zip(*losses)]
    assert spread["mup"][1] == pytest.approx(sum(apart) / len(apart))


def test_without_a_width_rule_neither_holds(study) -> None:
    """The mutant: one learning rate for all widths starts a wide network far beyond its limit."""
    ratios = [curve.ratio[0] for curve in study.of("standard", "sgd")]
    assert ratios[-1] > 2 * ratios[0] > 0
    assert not study.at_the_edge("standard", "sgd") and not study.fades("standard", "sgd")


def test_the_page_says_what_was_found(study) -> None:
    lines = answer_lines(study)
    assert "every width ends at the edge" in lines[0] and "fades with width" in lines[1]
    assert [section.anchor for section in edge_page(study).sections] == ["sgd", "numbers"]


def test_a_diverging_network_is_drawn_not_raised() -> None:
    study = edge_study(widths=(64, 4096), parametrizations=("standard",), optimizers=("sgd",), num_steps=60, every=20)
    narrow, wide = study.curves
    assert len(wide.ratio) < len(narrow.ratio) and wide.loss[-1] > 1e3 * wide.loss[0]
    assert edge_page(study).answer


def test_adam_hovers_at_38() -> None:
    study = edge_study(widths=(32, 64), parametrizations=("mup",), optimizers=("adam",), num_steps=600)
    assert study.at_the_edge("mup", "adam")
    assert all(curve.limit == pytest.approx(38.0) for curve in study.curves)


@pytest.mark.parametrize(
    "settings",
    [
        {"widths": (64,)},
        {"widths": (1, 8)},
        {"num_steps": 10},
        {"every": 0},
        {"widths": (8, 2_000_000), "num_samples": 1},
        {"widths": (4, 8), "num_samples": 1_000_000_000},
    ],
)
def test_bad_settings_are_one_sentence(settings) -> None:
    with pytest.raises(SpecError, match="expected"):
        edge_study(**settings)


def test_a_name_given_twice_is_trained_once() -> None:
    study = edge_study(
        widths=(4, 8), parametrizations=("mup", "mup"), optimizers=("sgd", "sgd"), num_samples=4, num_steps=3, every=1
    )
    assert [curve.width for curve in study.curves] == [4, 8]
