from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.errors import ConfigInvalid
from onnxlift_runtime.settings import PREFIX, Limits, Settings, WorkerSettings

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
SETTINGS = st.builds(
    Settings,
    service=TEXTS,
    models_dir=TEXTS.map(Path),
    threads=st.integers(0, 64),
    verify=st.booleans(),
    log_level=TEXTS,
    api_key_required=st.booleans(),
    jobs_table=TEXTS,
    data_bucket=TEXTS,
    event_bus=TEXTS,
    topic=TEXTS,
    webhook_secret=TEXTS,
    private_webhooks=st.booleans(),
    batch_workers=st.integers(0, 1000),
    limits=st.builds(
        Limits,
        max_body_bytes=st.integers(0, 2**40),
        max_json_bytes=st.integers(0, 2**40),
        max_dimensions=st.integers(0, 64),
    ),
)


@given(SETTINGS)
def test_settings_survive_the_environment(settings: Settings) -> None:
    assert Settings.from_env(settings.to_env()) == settings


def test_limits_are_read_from_variables_of_their_own() -> None:
    settings = Settings.from_env({"ONNXLIFT_MAX_JSON_BYTES": "5"})

    assert settings.limits == Limits(max_json_bytes=5)
    assert settings.to_env()["ONNXLIFT_MAX_JSON_BYTES"] == "5"


def test_limits_at_their_defaults_take_no_variable() -> None:
    assert not any(name.startswith(f"{PREFIX}MAX_") for name in Settings().to_env())


def test_what_is_absent_keeps_its_default() -> None:
    assert Settings.from_env({"PATH": "/bin", "ONNXLIFT_OTHER": "1"}) == Settings()


def test_every_variable_has_the_prefix_and_a_text() -> None:
    for name, value in Settings().to_env().items():
        assert name.startswith(PREFIX)
        assert isinstance(value, str)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("VERIFY", "yes"),
        ("VERIFY", "True"),
        ("THREADS", "-1"),
        ("THREADS", ""),
        ("THREADS", "²"),
        ("THREADS", "9" * 5_000),
    ],
)
def test_a_value_of_another_type_names_its_variable(name: str, text: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"environment variable ONNXLIFT_{name} is "):
        Settings.from_env({f"ONNXLIFT_{name}": text})


def test_worker_settings_survive_the_environment_beside_the_services_own() -> None:
    told = WorkerSettings(serve="big,mid", weights="s3://b/k", max_wait_ms=0, allow_cpu=True)

    environ = Settings().to_env() | told.to_env()

    assert WorkerSettings.from_env(environ) == told
    assert not set(Settings().to_env()) & set(told.to_env())


@pytest.mark.parametrize(
    ("model", "expected"),
    [("digits", ("lambda", "gpu")), ("big", ("gpu",)), ("other", ("lambda",))],
)
def test_tiers_of_a_model_are_those_named_for_it(model: str, expected: tuple[str, ...]) -> None:
    settings = Settings(tiers="digits=lambda+gpu,big=gpu")

    assert settings.tiers_of(model) == expected
