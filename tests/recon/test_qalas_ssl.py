"""QALAS networks: the paper's layers, learning from the scan alone, files that keep them, interrupted trainings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter
from torch import nn

from pulsetwin.errors import FileError, MismatchError, ProtocolError
from pulsetwin.recon.qalas import map_qalas
from pulsetwin.recon.qalas.fit import fit
from pulsetwin.recon.qalas.network import load_network, new_network, save_network, unit
from pulsetwin.recon.qalas.ssl import estimate, train
from pulsetwin.recon.qalas.training import Training
from pulsetwin.sim.signal_models.qalas import signals
from pulsetwin.sim.signal_models.qalas_timing import QalasTiming
from pulsetwin.volume import Images

TIMING = QalasTiming.preset("siemens", train_length=127)
NAMES = ("t1", "t2", "pd", "ie")


def subject(seed: int, shape: tuple[int, int, int] = (4, 36, 36), snr: float = 50) -> dict[str, np.ndarray]:
    """White and grey matter with smooth changes, the efficiency following T1 and T2; noisy signals ``[voxel, 5]``."""
    rng = np.random.default_rng(seed)

    def smooth(size: float) -> np.ndarray:
        field = gaussian_filter(rng.standard_normal(shape), size)
        return field / field.std()

    mask = np.ones(shape, bool)
    mask[:, :4] = mask[0, 20:] = False
    grey = smooth(2) > 0
    t1 = (np.where(grey, 1.35, 0.85) * (1 + 0.04 * smooth(6)))[mask]
    t2 = (np.where(grey, 0.085, 0.07) * (1 + 0.04 * smooth(6)))[mask]
    truth = {"t1": t1, "t2": t2, "pd": np.where(grey, 0.82, 0.7)[mask], "b1": (1 + 0.1 * smooth(10))[mask]}
    truth["ie"] = np.exp(-0.008 / t2 - 0.002 / t1)
    values = {name: torch.from_numpy(value) for name, value in truth.items()}
    clean = signals(TIMING, values["t1"], values["t2"], **{name: values[name] for name in ("pd", "ie", "b1")}).numpy()
    noise = np.median(clean[:, 4]) / snr
    return {**truth, "data": clean + noise * rng.standard_normal(clean.shape), "noise": noise, "mask": mask}


def trained(one: dict[str, np.ndarray], training: Training, **options):
    return train(one["data"], TIMING, one["b1"], one["noise"], mask=one["mask"], training=training, **options)


def errors(found, one: dict[str, np.ndarray]) -> np.ndarray:
    return np.array([np.sqrt(np.mean((getattr(found, name) / one[name] - 1) ** 2)) for name in NAMES])


def weights(network) -> torch.Tensor:
    return nn.utils.parameters_to_vector(network.module.parameters()).detach()


def test_the_papers_layers():
    """Five 1 x 1 convolutions with B1 as a sixth input, 64 wide, without bias, features normalised over the slice."""
    module = new_network("paper", TIMING).module
    kinds = [type(layer) for layer in module]
    assert kinds == [nn.Conv2d, nn.InstanceNorm2d, nn.LeakyReLU] * 4 + [nn.Conv2d]
    assert weights(new_network("paper", TIMING)).numel() == 12864 + 64
    assert all(layer.kernel_size == (1, 1) and layer.bias is None for layer in module if isinstance(layer, nn.Conv2d))
    image = torch.randn(1, 6, 5, 7, generator=torch.Generator().manual_seed(0))
    value = image
    for k, layer in enumerate(module):
        if isinstance(layer, nn.Conv2d):
            value = torch.einsum("oi,biyx->boyx", layer.weight[:, :, 0, 0], value)
        elif k % 3 == 1:
            value = (value - value.mean((2, 3), keepdim=True)) / (value.var((2, 3), False, keepdim=True) + 1e-5).sqrt()
        else:
            value = torch.where(value > 0, value, 0.2 * value)
    assert torch.allclose(module(image), value, atol=1e-5)


def test_the_papers_density_head_does_not_saturate():
    """The density that each voxel needs is well within the head's range, whichever tissue is the brightest."""
    one = subject(0)
    scale = float(unit(torch.from_numpy(one["data"])))
    assert one["pd"].max() / scale < 0.7 / np.sin(TIMING.flip_angles[-1])
    assert abs(float(unit(torch.from_numpy(1e6 * one["data"]))) / scale / 1e6 - 1) < 1e-6


def test_estimates_are_what_the_heads_say():
    """Signals of the told tissue are those of the model; the density is that of least squares."""
    one = subject(1)
    data, b1 = torch.from_numpy(one["data"][:50]), torch.from_numpy(one["b1"][:50])
    network = new_network("fast", TIMING, (0.6, 0.9))
    output = 3 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t1, t2, pd, ie, told = network.tissue(output, data, b1)
    assert ((ie > 0.6) & (ie < 0.9)).all()
    assert torch.allclose(told, signals(TIMING, t1, t2, pd=pd, ie=ie, b1=b1))
    for k in range(5):
        shape = (told[k] / pd[k]).numpy()[:, None]
        assert np.allclose(np.linalg.lstsq(shape, data[k].numpy(), rcond=None)[0], float(pd[k]))


@pytest.mark.slow
def test_fast_network_is_better_than_the_fit_and_knows_the_efficiency():
    one = subject(2)
    network = trained(one, Training(steps=300, batch=1024))
    ours = errors(estimate(network, one["data"], one["b1"], mask=one["mask"]), one)
    theirs = errors(fit(one["data"], TIMING, one["b1"]), one)
    assert (ours < theirs).all()
    assert ours[3] < 0.6 * theirs[3]


@pytest.mark.slow
@pytest.mark.parametrize("snr", [50, 100])
def test_usual_training_is_no_worse_than_the_fit(snr):
    one = subject(2, (6, 48, 48), snr)
    ours = errors(estimate(trained(one, Training()), one["data"], one["b1"], mask=one["mask"]), one)
    assert (ours < errors(fit(one["data"], TIMING, one["b1"]), one)).all()


@pytest.mark.slow
def test_without_b1_as_input_it_is_worse():
    """A network that is told a B1 of 1, the signals being those of that flip angle."""
    one = subject(2, snr=100)
    angle = TIMING.flip_angles[0]
    data = one["data"] * (np.sin(angle) / np.sin(angle * one["b1"]))[:, None]
    blind = {**one, "data": data, "b1": np.ones_like(one["b1"])}
    how = Training(steps=300, batch=1024)
    with_b1, without = (
        errors(estimate(trained(x, how), x["data"], x["b1"], mask=x["mask"]), one) for x in (one, blind)
    )
    assert without[0] > 1.5 * with_b1[0]


@pytest.mark.slow
def test_paper_network_learns_from_the_scan():
    one = subject(3)
    told = [errors(estimate(trained(one, Training.paper(4, epochs=epochs, settled=0)), one["data"], one["b1"],
                            mask=one["mask"]), one) for epochs in (1, 60)]  # fmt: skip
    assert told[1][0] < 0.3 * told[0][0]


@pytest.mark.slow
def test_paper_network_comes_near_the_fit():
    one = subject(3)
    network = trained(one, Training.paper(4, epochs=800, settled=0))
    ours = errors(estimate(network, one["data"], one["b1"], mask=one["mask"]), one)
    assert (ours[:2] < 1.5 * errors(fit(one["data"], TIMING, one["b1"]), one)[:2]).all()


@pytest.mark.slow
def test_training_ends_where_the_rule_says():
    one, seen = subject(2), []
    trained(one, Training(steps=300, batch=1024, settled=6.0), progress=lambda *state: seen.append(state))
    assert seen[-2][0] < 299
    assert seen[-1] == (300, 300, "training")
    never = []
    trained(one, Training(steps=20, batch=512, settled=0), progress=lambda *state: never.append(state))
    assert [state[0] for state in never] == list(range(1, 21))


def test_seeds_and_scales():
    one = subject(4)
    first, again, other = (trained(one, Training(steps=15, batch=512, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))
    large = {**one, "data": 2.0**20 * one["data"], "noise": 2.0**20 * one["noise"]}
    assert torch.equal(weights(trained(large, Training(steps=15, batch=512))), weights(first))
    state = torch.random.get_rng_state()
    new_network("fast", TIMING, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("kind", ["fast", "paper"])
def test_interrupted_training_goes_on_to_the_same_weights(tmp_path, kind):
    one = subject(5, (4, 16, 16))
    how = Training(kind, steps=25, batch=300 if kind == "fast" else 2, every=10, settled=0)
    whole = trained(one, how)
    kept = dataclasses.replace(how, checkpoint=tmp_path / "network.pt")

    def interrupt(done, total, what):
        if done == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(one, kept, progress=interrupt)
    steps = []
    resumed = trained(one, kept, progress=lambda *state: steps.append(state[0]))
    assert steps[0] == 11
    assert torch.equal(weights(resumed), weights(whole))
    assert load_network(kept.checkpoint)[0].digest == whole.digest
    over = trained(one, kept, progress=lambda *state: pytest.fail("is over"))
    assert torch.equal(weights(over), weights(whole))
    with pytest.raises(MismatchError, match="another scan or training"):
        trained({**one, "b1": one["b1"] + 0.01}, kept)


@pytest.mark.slow
def test_fine_tuning_begins_where_training_ended():
    one, two = subject(6), subject(7)
    pre = trained(one, Training(steps=250, batch=1024))
    before = weights(pre).clone()
    tuned = trained(two, Training(steps=50, batch=1024, rate=3e-3), network=pre)
    new = trained(two, Training(steps=50, batch=1024, rate=3e-3))
    assert torch.equal(weights(pre), before)
    told = [errors(estimate(x, two["data"], two["b1"], mask=two["mask"]), two)[0] for x in (tuned, new)]
    assert told[0] < told[1]
    with pytest.raises(MismatchError, match="give one of its kind"):
        trained(two, Training.paper(6), network=pre)


def test_files(tmp_path):
    path, network = tmp_path / "network.safetensors", new_network("paper", TIMING, (0.7, 1.0), seed=3)
    save_network(path, network)
    kept, training = load_network(path)
    assert kept.digest == network.digest
    assert (kept.timing, kept.ie, training) == (TIMING, (0.7, 1.0), {})
    with safe_open(path, "pt") as file:
        about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    changed = {name: value + 1e-3 if name.endswith("/0.weight") else value for name, value in tensors.items()}
    for weights, said, told in (
        (changed, about, "SHA-256"), (tensors, about | {"version": "99"}, "version 99"),
        (tensors, {}, "no QALAS network"), ({}, about, "weights of another network"),
    ):  # fmt: skip
        save_file(weights, path, said)
        with pytest.raises(FileError, match=told):
            load_network(path)
    torch.save(network.module, path)  # would run code
    with pytest.raises(FileError, match="cannot be read"):
        load_network(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(FileError, match="cannot be read"):
        load_network(path)
    with pytest.raises(FileError, match="cannot be read"):
        load_network(tmp_path / "absent.pt")


def volumes(one: dict[str, np.ndarray], data: np.ndarray) -> tuple[Images, np.ndarray]:
    """Return signals ``[voxel, 5]`` and B1 of a subject on its grid."""
    values, b1 = np.zeros((5, *one["mask"].shape), data.dtype), np.ones(one["mask"].shape)
    values[:, one["mask"]], b1[one["mask"]] = data.T, one["b1"]
    return Images(values, np.diag([1.0, 1, 2, 1]), ({},) * 5, noise_std=np.full(b1.shape, one["noise"])), b1


@pytest.mark.parametrize("kind", ["complex", "magnitude"])
def test_maps_are_those_of_the_network(kind):
    """On the grid, in units of the images, with the signs that magnitudes have lost; one scan's network for another."""
    one = subject(8)
    phase = np.exp(1j * np.linspace(0, 6, len(one["data"])))[:, None]
    images, b1 = volumes(one, one["data"] * phase if kind == "complex" else np.abs(one["data"]))
    how = Training(steps=60, batch=512)
    maps = map_qalas(images, TIMING, b1, method="ssl", training=how, mask=one["mask"])
    expected = estimate(trained(one, how), one["data"], one["b1"], mask=one["mask"])
    for name in NAMES:
        far = maps[name.upper()].values[one["mask"]] / getattr(expected, name) - 1
        assert np.median(np.abs(far)) < 0.02
    assert (maps["T1"].values[~one["mask"]] == 0).all()
    assert maps["T1_std"].valid[one["mask"]].mean() > 0.99
    network = trained(subject(9), how)
    used = map_qalas(images, TIMING, b1, method="ssl", network=network, mask=one["mask"])
    ready = estimate(network, one["data"], one["b1"], mask=one["mask"])
    assert np.quantile(np.abs(used["T1"].values[one["mask"]] / ready.t1 - 1), 0.99) < 0.01


def test_what_does_not_fit_together_is_said():
    one, network = subject(8), new_network("fast", TIMING)
    images, b1 = volumes(one, one["data"])
    with pytest.raises(MismatchError, match="another timing"):
        map_qalas(images, QalasTiming.preset("ge"), b1, method="ssl", network=network)
    with pytest.raises(MismatchError, match="its own bounds"):
        map_qalas(images, TIMING, b1, method="ssl", network=network, ie=(0.6, 0.9))
    with pytest.raises(ProtocolError, match="use method fit"):
        map_qalas(images, TIMING, b1, method="ssl", ie=0.9)
    with pytest.raises(ProtocolError, match="network is not an option of method fit"):
        map_qalas(images, TIMING, b1, network=network)
    with pytest.raises(ProtocolError, match="weight is not an option of method ssl"):
        map_qalas(images, TIMING, b1, method="ssl", weight=1.0)


def test_what_is_wrong_is_said():
    with pytest.raises(ProtocolError, match="'pap'"):
        Training("pap")
    with pytest.raises(ProtocolError, match="'pap'"):
        new_network("pap", TIMING)
    with pytest.raises(ProtocolError, match="positive"):
        Training(steps=0)
