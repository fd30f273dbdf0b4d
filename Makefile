# Every target is one line; CI calls exactly these. `make` alone lists them.
PYTHON ?= python3
PY := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)

help:          ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 12
.venv/.ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { echo '$(PYTHON) is not Python 3.11 to 3.14; name one that is: make $(MAKECMDGOALS) PYTHON=python3.13'; exit 1; }
	@echo 'making .venv with the locked requirements, once; this takes some minutes'
	$(PYTHON) -m venv .venv && $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt && $(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . && touch $@
setup: .venv/.ready  ## make .venv from the locked requirements
demo: setup    ## the main job: compress, place, synthesise, serve, compare on held-out data
	$(PY) -m examples.digits.demo
test: setup    ## all tests that need nothing but this machine
	$(PY) -m pytest -n logical --dist loadfile --no-loadscope-reorder tests
fuzz: setup    ## the tests of many inputs again, with all of their inputs
	$(PY) -m pytest -n logical --dist loadfile --no-loadscope-reorder --fuzz -m 'hypothesis or fuzz' tests
check: setup   ## lint, format, types, import contracts
	ruff check . && ruff format --check . && mypy && lint-imports --no-cache
format: setup  ## write the format that `check` asks for
	ruff check --fix . && ruff format .
synth: setup   ## write the CloudFormation templates to cdk.out
	$(PY) -m infra.node cdk synth --quiet
images: setup  ## build the images of the models and of the GPU worker, with docker or podman
	$(PY) -m infra.images
stand-ins: setup  ## where no registry can be reached: make images that stand for the bases, for tests
	$(PY) -m infra.images.standin
node-tests: setup  ## how many of ONNX's node tests go in and are answered right over both protocols
	$(PY) -m benchmarks.node_tests
bench-models: setup  ## compress models that others published, beside onnxruntime's own quantizers
	$(PY) -m benchmarks.models
image-test: setup  ## build the images and run them as Lambda and ECS would
	$(PY) -m pytest --images tests/image tests/integration/test_tritonclient.py
e2e: setup     ## deploy to an emulator of AWS with the unmodified `cdk deploy`, use it, change it, destroy it
	$(PY) -m pytest --e2e -n0 tests/e2e
lock: setup    ## pin requirements/*.txt anew from requirements/*.in
	sh requirements/lock.sh
clean:         ## remove what the other targets made
	rm -rf .venv node_modules cdk.out artifacts build dist .onnxlift .mypy_cache .ruff_cache .hypothesis
.PHONY: help setup demo test fuzz check format synth images stand-ins node-tests bench-models image-test e2e lock clean
