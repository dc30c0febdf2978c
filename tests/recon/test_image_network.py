"""Networks of images: what they see, files that show damage, and T1 whatever phase and scale images have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pulsetwin.errors import FileError, MismatchError, ProtocolError
from pulsetwin.recon.image_network import Architecture, load_image_network, new_image_network, save_image_network
from pulsetwin.recon.t1_network import map_t1, new_t1_network, purpose_of, signed_shape, told_t1
from pulsetwin.volume import Images

SMALL = Architecture(2, 1, width=8, layers=2)
TIMES = [0.1, 0.5, 1.5]
SEQUENCE = {
    "TI": TIMES, "MeasurementTimes": [0.25, 1.07, 1.6], "FlipAngle": 5.0, "Matrix": [64, 12, 1],
    "Protocol_echo_spacing": 0.01,
}  # fmt: skip
PLAYED = purpose_of(TIMES, [0.03, 0.45], 5.0, 0.01, 12)


def drawn(*shape, seed=0, dtype=torch.complex64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(("kernel", "reach"), [(1, 0), (3, 3)])
def test_voxels_are_seen_as_far_as_kernels_reach(kernel, reach):
    network = new_image_network(Architecture(2, 1, width=8, layers=2, kernel=kernel), {})
    image = drawn(1, 2, 15, 15, dtype=torch.float32)
    other = image.clone()
    other[..., 7, 7] += 3
    with torch.no_grad():
        rows, columns = torch.nonzero((network(image) != network(other))[0, 0], as_tuple=True)
    assert int((rows - 7).abs().max()) == int((columns - 7).abs().max()) == reach


def test_weights_can_be_passed_with_gradients():
    network = new_image_network(SMALL, {}, seed=1)
    weights = {name: (2 * value).requires_grad_() for name, value in network.weights.items()}
    image = drawn(1, 2, 4, 4, dtype=torch.float32)
    told = network(image, weights)
    told.sum().backward()
    assert all(float(value.grad.abs().sum()) > 0 for name, value in weights.items())
    assert torch.equal(network.with_weights({name: value.detach() for name, value in weights.items()})(image), told)


def test_files_return_the_network_and_show_damage(tmp_path):
    network, path = new_image_network(SMALL, {"what": "test", "TI": TIMES}, seed=2), tmp_path / "a.network"
    save_image_network(path, network)
    again = load_image_network(path)
    assert again.architecture == network.architecture
    assert again.purpose == network.purpose
    assert all(torch.equal(value, network.weights[name]) for name, value in again.weights.items())
    data = bytearray(path.read_bytes())
    weight = network.weights["0.weight"].numpy().tobytes()
    data[bytes(data).index(weight)] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileError):
        load_image_network(path)


@pytest.mark.parametrize("wrong", [{"kernel": 2}, {"width": 0}])
def test_impossible_networks_are_refused(wrong):
    with pytest.raises(ProtocolError, match="odd kernel"):
        new_image_network(Architecture(**({"inputs": 2, "outputs": 1} | wrong)), {})


def test_signs_are_those_of_the_course():
    real = drawn(5, 40, dtype=torch.float64)
    turned = 3 * real * torch.exp(1j * torch.linspace(0, 6, 40, dtype=torch.float64))
    course = signed_shape(turned)
    sign = (course * real).sum(0).sign()
    assert torch.allclose(course * sign, real / real.norm(dim=0), atol=1e-12)
    assert torch.equal(signed_shape(torch.zeros(5, 3, dtype=torch.complex128)), torch.zeros(5, 3, dtype=torch.float64))


def test_t1_does_not_depend_on_phase_and_scale():
    network, images = new_t1_network(3, seed=4), drawn(3, 2, 6, 6, seed=1)
    told = told_t1(network, images)
    assert told.shape == (2, 6, 6)
    for factor in (-1.0, 1e-6, 1e6j):
        assert torch.allclose(told_t1(network, factor * images), told, rtol=1e-4)


def trained(**purpose):
    """Return a network for three images of a sequence."""
    return new_image_network(new_t1_network(3).architecture, PLAYED | purpose, seed=1)


def test_maps_are_of_the_networks_own_sequence():
    values = drawn(3, 1, 5, 4, seed=2).numpy()
    values[:, 0, 0, 0] = 0
    images = Images(values, np.eye(4), ({},) * 3)
    maps = map_t1(images, SEQUENCE, trained())
    with torch.no_grad():
        wanted = told_t1(trained(), torch.from_numpy(values))[0, 1:].numpy()
    np.testing.assert_allclose(maps["T1"].values[0, 1:], wanted, rtol=1e-6)
    assert not maps["T1"].valid[0, 0, 0]
    assert maps["T1"].unit == "s"
    with pytest.raises(MismatchError, match="not T1"):
        map_t1(images, SEQUENCE, new_image_network(SMALL, {"what": "else"}))
    with pytest.raises(ProtocolError, match="complex"):
        map_t1(Images(np.abs(values), np.eye(4), ({},) * 3), SEQUENCE, trained())
    for name in ("TI", "FlipAngle", "Matrix", "Protocol_echo_spacing"):
        with pytest.raises(ProtocolError, match=f"does not define {name}"):
            map_t1(images, {key: one for key, one in SEQUENCE.items() if key != name}, trained())


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"TI": [0.1, 0.5, 1.6]}, "trained for TI"),
        ({"MeasurementTimes": [2.22, 1.07, 1.6]}, "trained for cycle"),
        ({"MeasurementTimes": [0.25, 1.07]}, "trained for cycle"),
        ({"FlipAngle": 8.0}, "trained for flip angle"),
        ({"Matrix": [64, 13, 1]}, "trained for excitations"),
        ({"Protocol_echo_spacing": 0.011}, "trained for TR"),
    ],
)
def test_other_sequences_are_refused(other, told):
    images = Images(drawn(3, 1, 5, 4).numpy(), np.eye(4), ({},) * 3)
    with pytest.raises(MismatchError, match=told):
        map_t1(images, SEQUENCE | other, trained())


def test_measurements_that_last_equally_long_may_have_one_time():
    images = Images(drawn(3, 1, 5, 4).numpy(), np.eye(4), ({},) * 3)
    told = {name: one for name, one in SEQUENCE.items() if name != "MeasurementTimes"}
    network = trained(cycle=[0.7, 0.7])
    assert map_t1(images, told | {"TR": 0.7}, network)["T1"].valid.all()
    with pytest.raises(MismatchError, match="trained for cycle"):
        map_t1(images, told | {"TR": 0.8}, network)


def test_networks_must_tell_their_sequence_and_read_all_images():
    images = Images(drawn(3, 1, 5, 4).numpy(), np.eye(4), ({},) * 3)
    with pytest.raises(MismatchError, match="does not tell the TI"):
        map_t1(images, SEQUENCE, new_t1_network(3))
    with pytest.raises(MismatchError, match="reads 2 images, these are 3"):
        map_t1(images, SEQUENCE, new_image_network(SMALL, PLAYED))


def test_gradients_reach_the_images():
    network, images = new_t1_network(3, seed=4), drawn(3, 1, 2, 2, seed=1).to(torch.complex128).requires_grad_()
    told_t1(network, images).log().sum().backward()
    assert bool(torch.isfinite(images.grad).all())
    assert math.isclose(
        float((images.grad.conj() * images.detach()).real.sum()), 0.0, abs_tol=1e-6
    )  # scale has no effect
