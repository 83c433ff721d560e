"""Draw the pictures of the solved theories in docs/theory from what their commands wrote.

for name in linear-attention gaussian-mixture quadratic-network balanced-linear ridge feature-learning; do
    limes theory $name --simulate --out DIR/$name
done
python benchmarks/theory_pictures.py DIR          # needs `pip install -e '.[plots]'`
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from cycler import cycler
from scipy import stats

matplotlib.use("svg")
OUT = Path(__file__).resolve().parent.parent / "docs" / "theory"
COLOURS = ("#1f4e79", "#c0504d", "#4f8f3a", "#7f6bb3")
# Equal runs must write equal files: no date, no random identifiers.
matplotlib.rcParams.update({"svg.hashsalt": "limes", "svg.fonttype": "none", "axes.prop_cycle": cycler(color=COLOURS)})
# Page of the documentation: its command, and the two panels that stand side by side.
PICTURES = {
    "linear_attention": ("linear-attention", ("samples", "tasks")),
    "gaussian_mixture": ("gaussian-mixture", ("error-ridge", "error-samples")),
    "quadratic_network": ("quadratic-network", ("loss", "overlap")),
    "balanced_linear": ("balanced-linear", ("modes", "loss")),
    "ridge": ("ridge", ("test-loss", "width")),
    "feature_learning": ("feature-learning", ("loss", "alignment")),
}
LINEAR_X = {"loss", "overlap", "modes"}


def draw(axes: Any, panel: dict[str, Any], *, log_x: bool) -> None:
    for curve in panel["curves"]:
        y = [float("nan") if value is None else value for value in curve["theory"]]
        style = {"solid": "-", "dash": "--", "dot": ":"}[curve["dash"]]
        (line,) = axes.plot(curve["x"], y, label=curve["label"], linestyle=style)
        if "points" in curve:
            p = curve["points"]
            quantile = stats.t.ppf(0.975, p["degrees_of_freedom"])
            half = [quantile * error for error in p["error"]]
            axes.errorbar(p["x"], p["mean"], half, fmt="o", markersize=4, capsize=2, color=line.get_color())
    axes.set(
        xlabel=panel["x"],
        ylabel=panel["y"],
        yscale="linear" if panel["name"] == "modes" else "log",
        **({"xscale": "log"} if log_x else {}),
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def main() -> None:
    folder = Path(sys.argv[1])
    for page, (name, wanted) in PICTURES.items():
        content = json.loads((folder / name / f"{name}.json").read_text())
        panels = {panel["name"]: panel for panel in content["panels"]}
        figure, axes = plt.subplots(1, 2, figsize=(10.0, 3.7), layout="constrained")
        for place, key in zip(axes, wanted, strict=True):
            draw(place, panels[key], log_x=page == "feature_learning" or key not in LINEAR_X)
        figure.savefig(OUT / f"{page}.svg", metadata={"Date": None})
        plt.close(figure)
        print(page, content["answer"][-1])


if __name__ == "__main__":
    main()
