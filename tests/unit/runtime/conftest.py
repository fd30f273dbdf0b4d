import pytest

from tests.support.runtime.serving import Service, open_engine, write_models


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    root = tmp_path_factory.mktemp("models")
    write_models(root)
    return Service.of(open_engine(root))
