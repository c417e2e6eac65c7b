# SPDX-License-Identifier: Apache-2.0
# Each target makes its own environment on first use; none has to be activated.
#   make demo [SEED=n]   make downstream [BUNDLE=name] [SEED=n]   make label [STUDIES=folder]   make zoo [URL=https://...]
#   make test   make test-core   make test-label   make acceptance [ONLY=name]   make lint   make peers

PYTHON ?= python3
VENV ?= .venv
PEERS_VENV ?= .venv-peers
LABEL_VENV ?= .venv-label
STUDIES ?=
WORKERS ?= 2
SEED ?= 0
ONLY ?=

DEMO := output/demo$(if $(filter-out 0,$(SEED)),-$(SEED))
DEMO_OPTIONS = --seed $(SEED) --output_dir $(DEMO) --model_dir $(DEMO)/models --phantom_dir output/phantom
RUN = $(VENV)/bin/python -m monai.bundle run --config_file

DOWNSTREAM := classification_2d classification_3d segmentation_2d segmentation_3d
BUNDLE ?= $(DOWNSTREAM)
PRETRAINED ?= output/demo/models/model.pt
LEARNT = output/downstream/$(1)$(if $(filter-out 0,$(SEED)),-$(SEED))
LEARNT_OPTIONS = --seed $(SEED) --output_dir $(LEARNT) --model_dir $(LEARNT)/models --phantom_dir output/downstream/$(1)/phantom

PIP_INSTALL = -m pip install --quiet --disable-pip-version-check
STAMP = .installed

# A test that hangs, be it in C, ends its process, and a worker that dies the tests: xdist may wait for ever for its files.
LIMIT = --timeout 600 --timeout-method thread
CORE_TESTS = $(VENV)/bin/python -m pytest -q -n $(WORKERS) --dist loadfile --max-worker-restart 0 $(LIMIT) --ignore=tests/apps tests
LABEL_TESTS = $(LABEL_VENV)/bin/python -m pytest -q $(LIMIT) tests/apps
# monailabel 0.8.5 imports distutils, which python 3.12 has no more.
LABEL_INSTALL = $(shell $(PYTHON) -c 'import sys; print("label-install" * (sys.version_info < (3, 12)))')

ZOO ?= output/zoo
URL ?= http://localhost:8000

.PHONY: install demo downstream zoo demo-weights test test-core test-label acceptance lint peers label label-install label-clients

install: $(VENV)/$(STAMP)

demo: install
	$(RUN) bundles/pretrain/configs/train.json $(DEMO_OPTIONS)
	$(RUN) bundles/pretrain/configs/evaluate.json $(DEMO_OPTIONS)

downstream: demo-weights install
	$(foreach name,$(BUNDLE),$(call learn,$(name)))

demo-weights:
	@test -z "$(filter-out $(DOWNSTREAM),$(BUNDLE))" || \
	  { echo "BUNDLE must be one or more of $(DOWNSTREAM), got $(BUNDLE)"; exit 1; }
	@test -e "$(PRETRAINED)" || \
	  { echo "there are no pre-trained weights at $(PRETRAINED): run 'make demo' first, or give PRETRAINED=path/to/model.pt"; exit 1; }

# What `make demo` and `make downstream` left, as downloads, beside the package that they need; the URL is where they will lie.
zoo: install
	@rm -rf output/wheel
	$(VENV)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir output/wheel .
	@rm -rf monai_unimedi.egg-info build
	$(VENV)/bin/python -m monai_unimedi zoo build --output $(ZOO) --url $(URL) --wheel output/wheel/*.whl
	$(VENV)/bin/python -m monai_unimedi zoo verify $(ZOO)/*.zip

# The label app's tests in its environment (python 3.10 or 3.11), then all others; both run, whichever fails.
test: install $(LABEL_INSTALL)
	@failed=0; set -x; \
	$(if $(LABEL_INSTALL),$(LABEL_TESTS) || failed=1;) \
	$(CORE_TESTS) || failed=1; \
	{ set +x; } 2>/dev/null; exit $$failed

test-core: install
	$(CORE_TESTS)

test-label: label-install
	$(LABEL_TESTS)

acceptance: install $(if $(ONLY),$(if $(findstring label,$(ONLY)),label-clients),label-clients)
	$(VENV)/bin/python tests/acceptance/run_all.py $(ONLY)

lint: install
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m mypy

# The peers need torchvision, which does not import beside a CPU build of torch: the registry's torch it is.
peers: $(PEERS_VENV)/$(STAMP)
	$(PEERS_VENV)/bin/python -m benchmarks.make_golden --check

# The MONAI Label app on synthetic patients, or on STUDIES (a folder or a DICOMweb server). It answers with what
# `make downstream` trained, where it did.
label: label-install $(DEMO)/models/model.pt
	$(LABEL_VENV)/bin/python apps/unimedi $(if $(STUDIES),--studies $(STUDIES),--demo) --encoder $(DEMO)/models --trained output/downstream

$(DEMO)/models/model.pt:
	$(MAKE) demo

label-clients: label-install
	$(LABEL_VENV)/bin/python $(PIP_INSTALL) -c constraints-label.txt slicer-core selenium

label-install: $(LABEL_VENV)/$(STAMP)

$(VENV)/$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(call new_environment,$(VENV))
	$(VENV)/bin/python $(PIP_INSTALL) -c constraints.txt -e ".[test]"
	@rm -rf monai_unimedi.egg-info build && touch $@

$(PEERS_VENV)/$(STAMP): setup.cfg pyproject.toml
	$(call new_environment,$(PEERS_VENV))
	$(PEERS_VENV)/bin/python $(PIP_INSTALL) "torch!=2.13.0+cpu" -e ".[test,peers]"
	@rm -rf monai_unimedi.egg-info build && touch $@

define learn
	$(RUN) bundles/$(1)/configs/train.json --pretrained $(PRETRAINED) $(LEARNT_OPTIONS)
	$(RUN) bundles/$(1)/configs/evaluate.json $(LEARNT_OPTIONS)

endef

# About 8 GB: monailabel asks for torchvision, which needs the registry's torch with CUDA.
$(LABEL_VENV)/$(STAMP): setup.cfg pyproject.toml constraints-label.txt
	$(call new_environment,$(LABEL_VENV))
	$(LABEL_VENV)/bin/python $(PIP_INSTALL) -c constraints-label.txt "torch!=2.13.0+cpu" -e ".[label]" pytest pytest-timeout
	@rm -rf monai_unimedi.egg-info build && touch $@

define new_environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "python must be 3.10 or newer, $(PYTHON) is not: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1) || \
	  { echo "$(PYTHON) cannot make environments: install its venv module (on Debian: python3-venv)"; exit 1; }
endef
