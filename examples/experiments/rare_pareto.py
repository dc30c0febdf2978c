# %% [markdown]
# # RARE: how much image error a given SAR costs
#
# Sweeps over the weight of SAR, for lines in centric and in linear order, and on the brain for angles that were learnt
# on it or on random rectangles. Runs that are in the folder are not repeated; about ten minutes on one core. Run it
# from anywhere: `python examples/experiments/rare_pareto.py [FOLDER [PROCESSES]]`.

# %%
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from pulsetwin.export.figures import new_figure, save_png
from pulsetwin.optimize.sweep import sweep

HERE = Path(__file__).parent
FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "rare_pareto")
PAPER_SAR, PAPER_ERROR, PAPER_SAR_BRAIN = 15, 15, 10  # of MRzero, doi:10.1002/mrm.28727, Fig. 4 and 5 [%]
WEIGHTS = {"rare_sar.toml": [0.1, 0.4, 0.03], "rare_sparse.toml": [0.05, 0.12, 0.3]}
CURVES = {
    "centric order": ("rare_sar.toml", {"sequence.order": ["centric"]}),
    "linear order": ("rare_sar.toml", {"sequence.order": ["linear"]}),
    "learnt on the brain": ("rare_sparse.toml", {"phantom.name": ["brain"]}),
    "learnt on rectangles": ("rare_sparse.toml", {"phantom.name": ["sparse"]}),
}


def curve(name, pool):
    """Return SAR and image error [%] for all weights."""
    file, chosen = CURVES[name]
    results = sweep(HERE / file, chosen | {"loss.sar": WEIGHTS[file]}, FOLDER / name.replace(" ", "_"), pool)
    return zip(*sorted((100 * one["sar"], 100 * one["image_error"]) for one in results), strict=True)


# %%
if __name__ == "__main__":
    figure = new_figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    with ProcessPoolExecutor(int(sys.argv[2]) if len(sys.argv) > 2 else 1) as pool:
        for number, name in enumerate(CURVES):
            (left, right)[number // 2].plot(*curve(name, pool), "o-", label=name)
    left.plot(PAPER_SAR, PAPER_ERROR, "k*", label="MRzero, Fig. 4")
    right.axvline(PAPER_SAR_BRAIN, color="k", ls=":", label="SAR of MRzero, Fig. 5")
    for axes, title in ((left, "Shepp-Logan head"), (right, "brain")):
        axes.set(title=title, xlabel="SAR [% of the target's]", ylabel="image error [%]")
        axes.set(xlim=(0, None), ylim=(0, None))
        axes.legend(fontsize=8)
    save_png(figure, FOLDER / "rare_pareto.png", force=True)
