"""Queues and the functions that they feed."""

from pathlib import Path

from onnxlift.config import Config, Model, Quality
from onnxlift.hosting import Gpu, Jobs
from onnxlift.topology import WORKER, created_objects, escalations, gpu_source, sources


def config(**jobs: int) -> Config:
    model = Model(source=Path("model.onnx"), quality=Quality(samples=Path("heldout.npz")))
    return Config(service="shop", models={"digits": model, "pair": model}, jobs=Jobs(**jobs))


def test_every_model_has_a_queue_of_its_own() -> None:
    found = sources(config(), ["digits", "pair"])

    queues = {source.model: source.queue for source in found if source.function == "batch"}
    assert queues == {"digits": "shop-digits-lambda-jobs", "pair": "shop-pair-lambda-jobs"}


def test_messages_stay_hidden_for_six_times_the_functions_timeout() -> None:
    found = sources(config(timeout_s=100), ["digits"])

    assert all(source.visibility_s >= 6 * source.timeout_s for source in found)
    assert found[0].visibility_s == 600


def test_the_configuration_says_how_a_models_jobs_are_worked_on() -> None:
    (source, *_) = sources(config(timeout_s=7, batch_size=3, concurrency=5), ["digits"])

    assert (source.timeout_s, source.batch_size, source.concurrency) == (7, 3, 5)


def test_only_objects_dropped_below_in_are_told() -> None:
    pattern = created_objects("data")

    assert pattern["detail"] == {
        "bucket": {"name": ["data"]},
        "object": {"key": [{"prefix": "in/"}]},
    }


def test_a_model_with_a_gpu_has_a_queue_that_feeds_no_function() -> None:
    found = sources(config(), ["digits", "pair"], {"digits": ("lambda", "gpu"), "pair": ("gpu",)})

    assert {source.queue: source.function for source in found if source.model} == {
        "shop-digits-lambda-jobs": "batch",
        "shop-digits-gpu-jobs": WORKER,
        "shop-pair-gpu-jobs": WORKER,
    }
    assert {source.visibility_s for source in found if source.function == WORKER} == {300}


def test_a_function_with_a_gpu_is_fed_no_longer_than_it_may_run() -> None:
    service = config().model_copy(update={"gpu": Gpu(backend="lambda", timeout_s=3_600)})

    source = gpu_source(service, "digits")

    assert (source.function, source.timeout_s, source.visibility_s) == ("batch", 900, 5_400)


def test_the_dead_letters_of_every_queue_of_jobs_are_escalated() -> None:
    found = escalations(config(), ["digits", "pair"], {"digits": ("lambda", "gpu")})

    assert {(source.queue, source.function) for source in found} == {
        ("shop-digits-lambda-jobs-dead", "escalate"),
        ("shop-digits-gpu-jobs-dead", "escalate"),
        ("shop-pair-lambda-jobs-dead", "escalate"),
    }
