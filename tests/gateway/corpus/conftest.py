"""One gateway process per kind of backend, shared by all cases."""

from collections.abc import Iterator

import pytest

from tests.gateway.corpus.doors import BACKENDS, Door, opened


@pytest.fixture(scope="package", params=BACKENDS)
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with opened(request.param, tmp_path_factory.mktemp(request.param)) as door:
        yield door
