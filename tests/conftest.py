"""What every test shares: float64, one seed, pictures without a screen."""

import jaxtyping
import matplotlib.pyplot
import pytest
import torch

matplotlib.use("Agg")


pytest_plugins = ["browser"]


@pytest.fixture(autouse=True)
def _float64_and_seed():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
    matplotlib.pyplot.close("all")


@pytest.fixture
def unchecked():
    """Annotated shapes are not checked, as for a user: the library's own messages must come through."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
