"""Networks that learn from played signals: what they tell, that it does not depend on company, and their files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pulsetwin.errors import FileError, MismatchError, ProtocolError, ShapeError
from pulsetwin.recon.cest_mrf.network import learn, network
from pulsetwin.recon.cest_mrf.problem import predicted
from pulsetwin.recon.cest_mrf.reconstructor import (
    estimated,
    features,
    load_reconstructor,
    new_reconstructor,
    save_reconstructor,
    told_values,
)
from pulsetwin.recon.cest_mrf.training import Training, noise_of
from tests.recon.cest_mrf.fit_cases import NAMES, larginine, tissues
from tests.recon.cest_mrf.network_cases import FREE, NOISE, scan

pytestmark = pytest.mark.slow  # each trains a network


@pytest.fixture(scope="module")
def trained():
    problem, truth = larginine(), tissues(6000, seed=9)
    table = np.stack(list(truth.values()), 1)
    signals = predicted(problem, tuple(truth), table)
    return learn(signals, tuple(truth), table, problem, FREE, noise=NOISE, training=Training(1000, 512))


def test_tells_voxels_it_has_not_seen_almost_as_well_as_the_noise_allows(trained):
    data, given, truth = scan(500)
    found = estimated(trained, data, larginine(), given)
    for name, worst in zip(NAMES, (0.05, 0.08), strict=True):
        assert np.sqrt(np.mean((found.values[name] / truth[name] - 1) ** 2)) < worst
    played = predicted(larginine(), (*NAMES, "t1", "t2"), np.column_stack([*found.values.values(), *given.values()]))
    np.testing.assert_allclose(found.misfit, np.square(played - data).sum(1), rtol=1e-9)


def test_a_voxel_is_told_the_same_alone_and_among_others(trained):
    data, given, _ = scan(50)
    together = told_values(trained, data, given)
    alone = told_values(trained, data[:1], {name: values[:1] for name, values in given.items()})
    np.testing.assert_allclose(alone[0], together[0], rtol=1e-5)


def test_every_known_parameter_is_seen(trained):
    data, given, _ = scan(50)
    before = told_values(trained, data, given)
    for name in given:
        assert np.abs(told_values(trained, data, given | {name: 1.1 * given[name]}) - before).max() > 1e-5


def test_order_of_given_maps_does_not_matter(trained):
    data, given, _ = scan(20)
    turned = dict(reversed(given.items()))
    one, other = (estimated(trained, data, larginine(), known) for known in (given, turned))
    np.testing.assert_array_equal(one.misfit, other.misfit)


def test_network_draws_its_own_dictionary_and_repeats_itself(monkeypatch):
    monkeypatch.setattr("pulsetwin.recon.cest_mrf.network._DRAWS", 3000)
    data, given, truth = scan(200)
    short = Training(300, 256)
    one, other = (network(data, larginine(), FREE, {**given, "b1": np.ones(200)}, training=short) for _ in range(2))
    for name in NAMES:
        np.testing.assert_array_equal(one.values[name], other.values[name])
        assert np.corrcoef(one.values[name], truth[name])[0, 1] > 0.9


def test_files_keep_networks_and_notice_changes(trained, tmp_path):
    path = tmp_path / "net.pt"
    save_reconstructor(path, trained)
    data, given, _ = scan(20)
    np.testing.assert_array_equal(told_values(load_reconstructor(path), data, given), told_values(trained, data, given))
    content = torch.load(path, weights_only=True)
    content["weights"]["1.bias"][0] += 1
    torch.save(content, path)
    with pytest.raises(FileError, match="was changed"):
        load_reconstructor(path)
    torch.save({"format": "other"}, path)
    with pytest.raises(FileError, match="no CEST-MRF network"):
        load_reconstructor(path)
    path.write_bytes(b"nothing")
    with pytest.raises(FileError, match="cannot be read"):
        load_reconstructor(path)


def test_networks_of_another_measurement_bounds_or_maps_are_refused(trained):
    data, given, _ = scan(20)
    for problem, free, known, told in (
        (larginine("first"), FREE, given, "another sequence"),
        (larginine(mode="physical"), FREE, given, "another sequence"),
        (larginine(), {**FREE, NAMES[1]: (100.0, 900.0)}, given, "seek what it tells"),
        (larginine(), FREE, {"t1": given["t1"]}, "given are t1"),
    ):
        with pytest.raises(MismatchError, match=told):
            network(data, problem, free, known, reconstructor=trained)
    model = replace(larginine().model, b0_shift=0.1)
    with pytest.raises(MismatchError, match="another sequence"):
        network(data, replace(larginine(), model=model), FREE, given, reconstructor=trained)


def test_errors_name_what_is_wrong():
    data, given, _ = scan(20)
    with pytest.raises(ShapeError, match="t1 has the shape"):
        features(data, {"t1": np.ones(3)})
    with pytest.raises(ShapeError, match="20 voxels of 30"):
        network(data, larginine(), FREE, given)
    with pytest.raises(ProtocolError, match="give positive numbers"):
        Training(0, 10)
    with pytest.raises(ShapeError, match=r"has no amine\."):
        learn(data, ("t1",), given["t1"][:, None], larginine(), FREE, noise=0.0)


@pytest.mark.parametrize("noise", [1e-3, 5e-3])
def test_noise_is_told_by_the_data(noise):
    assert noise_of(scan(3000, noise=noise)[0]) == pytest.approx(noise * 1.0, rel=0.1)


def test_constant_inputs_do_no_harm():
    data = np.ones((100, 30)) * np.float32(0.1)
    fresh = new_reconstructor(larginine(), FREE, features(data, {}), (), seed=0)
    assert np.isfinite(told_values(fresh, data, {})).all()
