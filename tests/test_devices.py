"""Devices: what is chosen, and what becomes of float64 where a device has none."""

from __future__ import annotations

import pytest
import torch

from helpers import GaussianLikelihood, best_device, devices, fit, objectives, training
from helpers.devices import to_device, widest_dtype

CPU = torch.device("cpu")
DATA = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def without_float64(monkeypatch):
    """A machine whose device has no float64; Apple's GPUs are like that."""
    for module in (devices, objectives, training):
        monkeypatch.setattr(module, "widest_dtype", lambda device: torch.float32)


@pytest.mark.parametrize(
    ("cuda", "mps", "kind"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device_is_the_first_that_is_there(monkeypatch, cuda, mps, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device().type == kind


def test_only_mps_has_nothing_wider_than_float32():
    kinds = {kind: widest_dtype(torch.device(kind)) for kind in ("cpu", "cuda", "mps")}
    assert kinds == {"cpu": torch.float64, "cuda": torch.float64, "mps": torch.float32}


@pytest.mark.parametrize("kind", ["cpu", "cuda", "mps"])
def test_it_is_the_device_itself_that_is_waited_for(kind, monkeypatch):
    waited = []
    monkeypatch.setattr(devices, "as_device", torch.device)  # whether it is there or not
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append(device))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append(torch.device("mps")))
    devices.synchronize(kind)
    assert waited == ([] if kind == "cpu" else [torch.device(kind)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_moving_keeps_the_dtype_where_the_device_has_it(dtype):
    assert to_device(DATA.to(dtype), CPU).dtype == dtype


def test_a_tensor_goes_where_it_is_asked_to():
    assert to_device(DATA, torch.device("meta")).device.type == "meta"


@pytest.mark.usefixtures("without_float64")
def test_moving_narrows_float64_where_it_must():
    assert to_device(DATA, CPU).dtype == torch.float32


@pytest.mark.usefixtures("without_float64")
def test_a_float32_model_takes_float64_data_on_such_a_device():
    model = GaussianLikelihood(2, dtype=torch.float32)
    history = fit(model, DATA)
    assert history.gap.dtype == torch.float32
    # float32 carries seven digits, and a gap is quadratic in the errors of the parameters.
    expected = torch.cov(DATA.mT, correction=0)
    assert torch.allclose(model.covariance_matrix.double(), expected, rtol=1e-5)


@pytest.mark.usefixtures("without_float64")
def test_a_float64_model_is_refused_on_such_a_device():
    model = GaussianLikelihood(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="device: expected one that computes in float64"):
        fit(model, DATA)
    assert torch.equal(model.loc, torch.zeros(2, dtype=torch.float64))
