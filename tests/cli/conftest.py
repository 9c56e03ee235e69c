"""A toy that knows a few lines, once for all tests of the command line; one thread for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests import toy


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """The toy is too small for two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def taught(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that knows `toy.TALKS` by heart."""
    return toy.teach(tmp_path_factory.mktemp("taught"), toy.TALKS)
