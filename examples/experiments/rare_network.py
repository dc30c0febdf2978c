# %% [markdown]
# # RARE and a network that repairs its images: learnt together, apart, or the network alone
#
# Refocusing angles and network of `rare_network.toml` learn together; the angles learn alone, with the same weight of
# SAR and with a larger one; and a network of the same make learns alone, after the angles that learnt alone, and after
# equal angles of the same SAR. All learn on random rectangles and are tested on a brain. Some five minutes of one core.
# Run it from anywhere: `python examples/experiments/rare_network.py [FOLDER [PROCESSES]]`.

# %%
import json
import re
import sys
import tomllib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pulsetwin.export.summary import write_json
from pulsetwin.optimize.experiment import Learning, experiment_from, read_experiment
from pulsetwin.optimize.loop import optimise
from pulsetwin.optimize.losses import relative_l2
from pulsetwin.optimize.penalties import flip_power
from pulsetwin.optimize.problem import problem_of
from pulsetwin.optimize.run import run_experiment

TOGETHER = read_experiment(Path(__file__).parent / "rare_network.toml")
ALONE = replace(TOGETHER, learn=Learning())
FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "rare_network")


def apart(sar):
    """Return the experiment without its network, and with another weight of SAR."""
    text = re.sub(r"\[network\]\n(.+\n)+", "", TOGETHER.text.replace("sar = 0.4", f"sar = {sar}"))
    return experiment_from(tomllib.loads(text), "rare_network.toml without its network", text)


def learnt(name, experiment):
    """Return error and SAR of a run [%], which goes on or is not repeated if it is in the folder."""
    done = FOLDER / name / "result.json"
    result = json.loads(done.read_text()) if done.exists() else run_experiment(experiment, done.parent, resume=True)
    return 100 * result["image_error"], 100 * result["sar"]


def network_after(refocusing):
    """Return errors of the images of angles [rad] without a network and with one that learns alone, and SAR [%]."""
    problem, loop = problem_of(ALONE), ALONE.loop
    timeline, shown = problem.timeline({"refocusing": refocusing}), problem.shown()
    fixed = replace(problem, scheme=replace(problem.scheme, values={"refocusing": refocusing}))
    values = optimise(fixed.loss, fixed.parameters, steps=loop.steps, rate=loop.rate, decay=loop.decay).values
    errors = []
    for one in (replace(fixed, network=None), fixed.repairing(values)):
        with torch.no_grad():
            _, image = one.measured(timeline, shown.voxels)
        errors.append(100 * float(relative_l2(image, shown.image).sqrt()))
    return *errors, 100 * float(problem.relative_sar(timeline))


def equal_angles(sar):
    """Return equal refocusing angles [rad] that give a SAR [% of the target's]."""
    scheme = problem_of(ALONE).scheme
    angles, excitation = scheme.values["refocusing"], scheme.timeline().flip_angle[:1]
    share = (sar / 100 * flip_power(scheme.timeline().flip_angle) - flip_power(excitation)) / flip_power(angles)
    return angles * share.sqrt()


# %%
if __name__ == "__main__":
    experiments = {"together": TOGETHER, "apart": apart(0.4), "apart_less": apart(0.7)}
    with ProcessPoolExecutor(int(sys.argv[2]) if len(sys.argv) > 2 else 1) as pool:
        runs = {name: pool.submit(learnt, name, one) for name, one in experiments.items()}
        table = {name: run.result() for name, run in runs.items()}
        angles = torch.from_numpy(np.load(FOLDER / "apart_less" / "learnt.npz")["value_refocusing"])
        after = [pool.submit(network_after, one) for one in (angles, equal_angles(table["together"][1]))]
        (_, later, sar), (equal, repaired, sar_equal) = (one.result() for one in after)
    table |= {"network after apart_less": (later, sar), "equal": (equal, sar_equal)}
    table |= {"network after equal": (repaired, sar_equal)}
    for name, (error, power) in table.items():
        sys.stdout.write(f"{name:26} error {error:5.1f} %, SAR {power:4.1f} %\n")
    write_json(FOLDER / "table.json", table, force=True)
