# Everything is installed in .venv. A repeated call installs nothing unless its inputs changed.

PYTHON ?= python3
VENV ?= .venv
VENV13 ?= .venv13
VENVML ?= .venvmlflow
VENVSEARCH ?= .venvsearch
ARGS ?=

# The PyTorch build must match the NVIDIA driver: CUDA 13 needs 580 or newer. Empty without a driver.
ifndef CONSTRAINTS
DRIVER := $(shell nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null \
	| sed -n '1s/^\([0-9][0-9]*\)\..*/\1/p')
CONSTRAINTS := $(shell \
	if [ -z "$(DRIVER)" ]; then echo constraints-cpu.txt; \
	elif [ "$(DRIVER)" -lt 580 ]; then echo constraints-cu128.txt; \
	else echo constraints-cu130.txt; fi)
endif

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --no-input --disable-pip-version-check
INSTALL := $(PIP) install --constraint $(CONSTRAINTS)
NEEDED := pyproject.toml constraints-common.txt $(CONSTRAINTS) $(VENV)/.constraints

# PyTorch itself is not locked: which build is right, and from where, depends on the machine. What
# each build needs besides CUDA is.
OF_TORCH := filelock fsspec jinja2 networkx setuptools sympy typing-extensions
COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes \
  --no-annotate --no-emit-index-url --custom-compile-command 'make lock' --extra hydra14 $(ARGS)
COMPILE_IMAGE := $(COMPILE) --python-version 3.12 --python-platform x86_64-manylinux_2_39 --extra ray
PINNED := Dockerfile docker-compose.yml

MLFLOW_oldest = "mlflow==$$(sed -n 's/.*"mlflow>=\([0-9.]*\),.*/\1/p' pyproject.toml)"
MLFLOW_newest = --upgrade --no-deps "$$(sed -n 's/.*"\(mlflow>=.*\)".*/\1/p' pyproject.toml)"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help run test test13 testmlflow check lint format docs bench bench-search mlflow docker lock \
  digests sbom licences clean FORCE

help:  ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*  ## \(.*\)/  make \1|\2/p' Makefile | \
	  while IFS='|' read -r left right; do printf '%-17s %s\n' "$$left" "$$right"; done
	@echo
	@echo "  PYTHON=$(PYTHON)  VENV=$(VENV)  CONSTRAINTS=$(CONSTRAINTS)"
	@echo "  ARGS=… is passed on: make run ARGS='lr=0.003 epochs=5', make test ARGS='-m \"not slow\"'"

run: $(VENV)/.run  ## train the PyTorch example, tracked in MLflow
	@$(BIN)/explr framework=pytorch $(ARGS)

test: $(VENV)/.test  ## run the tests, both frameworks included
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test13: $(VENV13)/.packages  ## run a part of the tests with Hydra 1.3
	@rm -rf build  # what an earlier build has left there would be installed too
	@$(VENV13)/bin/python -m pip --quiet --no-input --disable-pip-version-check install --no-deps --force-reinstall .
	@$(VENV13)/bin/pytest -n 4 --dist loadfile -m hydra13 $(ARGS)

testmlflow: $(VENVML)/oldest/.packages $(VENVML)/newest/.packages  ## run a part of the tests with the oldest and the newest MLflow
	@for age in oldest newest; do \
	  echo "MLflow $$($(VENVML)/$$age/bin/python -c 'from importlib.metadata import version; print(version("mlflow"))')"; \
	  EXPLR_OLDEST_MLFLOW=$(abspath $(VENVML)/oldest/bin/python) \
	    $(VENVML)/$$age/bin/python -m pytest -n 2 --dist loadfile -m mlflow_versions $(ARGS) || exit 1; \
	done

check: lint test test13 testmlflow  ## run what CI runs: format, lint, types, tests

lint: $(VENV)/.test  ## check format, style and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(VENV)/.test  ## format the code and sort the imports
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

docs: $(VENV)/.docs  ## write the tables of the reference, build the documentation in site/
	@$(BIN)/python docs/hooks/reference.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

bench: $(VENV)/.test  ## compare explr with similar tools, which takes some minutes
	@$(BIN)/python benchmarks/run_all.py

bench-search: $(VENVSEARCH)/.packages  ## compare how well tuners search; LCBENCH=FOLDER, see benchmarks/search/README.md
	@test -f "$(LCBENCH)/model.onnx" || { \
	  echo "LCBENCH=$(LCBENCH) has no model.onnx: benchmarks/search/README.md says where to get it" >&2; exit 2; }
	@$(VENVSEARCH)/bin/python benchmarks/search/p14_lcbench.py "$(LCBENCH)" $(ARGS)
	@$(VENVSEARCH)/bin/python benchmarks/search/p15_tables.py
	@$(VENVSEARCH)/bin/python benchmarks/search/p22_confirm.py
	@$(VENVSEARCH)/bin/python benchmarks/search/p23_stop.py "$(LCBENCH)"

mlflow: $(VENV)/.run  ## start the MLflow server if needed, print its address
	@$(BIN)/explr mlflow-ui

docker:  ## build the container image explr
	docker build --target torch --tag explr .

lock: $(VENV)/.release  ## resolve the lock files again; ARGS=--upgrade takes newer versions
	@printf '%s\n' $(OF_TORCH) | $(COMPILE) --universal --python-version 3.11 \
	  --constraint constraints-common.txt pyproject.toml - --output-file requirements-run.txt >/dev/null
	@$(COMPILE_IMAGE) --extra torch --constraint constraints-cu128.txt \
	  pyproject.toml --output-file docker/requirements-torch.txt >/dev/null
	@$(COMPILE_IMAGE) --extra tensorflow --constraint constraints-cu128.txt \
	  pyproject.toml --output-file docker/requirements-tensorflow.txt >/dev/null
	@printf '%s\n' $(OF_TORCH) | $(COMPILE_IMAGE) --constraint constraints-cpu.txt \
	  pyproject.toml - --output-file docker/requirements-cpu.txt >/dev/null

digests:  ## pin the images of the container files by digest; needs docker and the network
	@for image in $$(sed -n 's/^ARG BASE=//p; s/^ *BASE: //p; s/^ *image: \(.*\/.*\)/\1/p' $(PINNED) | sed 's/@.*//' | sort -u); do \
	  digest=$$(docker buildx imagetools inspect "$$image" --format '{{.Manifest.Digest}}') || exit 1; \
	  sed -i "s|\($$image\)\(@sha256:[0-9a-f]*\)\{0,1\}$$|\1@$$digest|" $(PINNED) || exit 1; \
	  echo "$$image@$$digest"; \
	done

sbom: $(VENV)/.release  ## write what explr is made of to dist/explr.cdx.json, as CycloneDX
	@mkdir -p dist
	@$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	  --output-file dist/explr.cdx.json requirements-run.txt
	@echo "dist/explr.cdx.json"

licences: $(VENV)/.release $(VENV)/.test  ## write the licences of what explr depends on to docs/licences.md
	@$(BIN)/python docs/hooks/licences.py

clean:  ## remove .venv, .venv13, .venvmlflow, .venvsearch, caches and builds; outputs/ and multirun/ stay
	rm -rf .venv .venv13 .venvmlflow .venvsearch build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find conf explr examples tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "explr needs Python 3.11 or newer, and there is no $(PYTHON): name one, as in make run PYTHON=python3.12" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "explr needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1): name another, as in make run PYTHON=python3.12" >&2; \
	  exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version 2>&1)"
	@$(PYTHON) -m venv $(VENV) || { rm -f $@; exit 1; }

# An environment elsewhere may be another checkout's, which an installation would take away from it.
define CHECK_OWNER
import sys
from importlib.util import find_spec
from pathlib import Path
here, there, found = Path.cwd(), Path(sys.prefix).resolve(), find_spec("explr")
origin = Path(found.origin).resolve() if found else here
if not any(a.is_relative_to(b) for a, b in [(there, here), (origin, here), (origin, there)]):
    sys.exit(f"{there} uses explr of {origin.parents[1]}, so nothing is installed there from {here}: "
             "name another environment, as in make docs VENV=.venv")
endef
export CHECK_OWNER

# Contains the name of the chosen constraint file; rewritten only if the name changes.
$(VENV)/.constraints: FORCE | $(BIN)/python
	@$(BIN)/python -I -c "$$CHECK_OWNER"
	@echo '$(CONSTRAINTS)' | cmp -s - $@ || echo '$(CONSTRAINTS)' >$@

$(VENV)/.run: $(NEEDED) requirements-run.txt
	@echo "Installing explr and PyTorch under $(CONSTRAINTS), which takes a few minutes"
	@$(PIP) install --require-hashes --requirement requirements-run.txt
	@$(INSTALL) --editable '.[torch,hydra14]'
	@touch $@

$(VENV)/.docs: $(NEEDED)
	@echo "Installing explr and mkdocs under $(CONSTRAINTS), which takes a minute"
	@$(INSTALL) --editable '.[docs]'
	@touch $@

$(VENV)/.test: $(NEEDED)
	@echo "Installing PyTorch, TensorFlow, Ray and the tools under $(CONSTRAINTS), which takes several minutes"
	@$(INSTALL) --editable '.[torch,ray,dev]' tensorflow-cpu
	@touch $(VENV)/.run $(VENV)/.docs $@

$(VENV)/.release: $(NEEDED)
	@$(INSTALL) --editable '.[release]'
	@touch $@

# MLflow beside the packages of the other tests: pip installs anew only what suits it not. Of the
# newest MLflow its main package is enough, which has all its files.
$(VENVML)/%/.packages: $(VENV)/.test
	@echo "Installing the $* MLflow that pyproject.toml allows in $(VENVML)/$*"
	@rm -rf $(VENVML)/$*
	@$(PYTHON) -m venv --without-pip $(VENVML)/$*
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  >"$$($(VENVML)/$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
	@$(PIP) --python $(VENVML)/$*/bin/python install $(MLFLOW_$*)
	@$(PIP) --python $(VENVML)/$*/bin/python install --no-deps --no-build-isolation --editable .
	@touch $@

# The tables and the peers that only benchmarks need, beside the packages of the tests.
$(VENVSEARCH)/.packages: benchmarks/search/requirements.txt $(VENV)/.test
	@echo "Installing Syne Tune and the tables in $(VENVSEARCH)"
	@rm -rf $(VENVSEARCH)
	@$(PYTHON) -m venv --without-pip $(VENVSEARCH)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  >"$$($(VENVSEARCH)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
	@$(PIP) --python $(VENVSEARCH)/bin/python install --requirement $<
	@$(PIP) --python $(VENVSEARCH)/bin/python install --no-deps --no-build-isolation --editable .
	@touch $@

# Hydra 1.3 as most applications pin it, and explr as it is installed for them: Hydra 1.3 does not
# find the plugins of an editable installation.
$(VENV13)/.packages: $(NEEDED)
	@echo "Installing Hydra 1.3, PyTorch and Ray in $(VENV13), which takes some minutes"
	@$(PYTHON) -m venv $(VENV13)
	@grep -v '^hydra-\|^omegaconf' constraints-common.txt > $(VENV13)/constraints.txt
	@grep -v '^-c' $(CONSTRAINTS) >> $(VENV13)/constraints.txt
	@printf '%s\n' hydra-core==1.3.2 omegaconf==2.3.0 hydra-joblib-launcher==1.2.0 >> $(VENV13)/constraints.txt
	@$(VENV13)/bin/python -m pip --quiet --no-input --disable-pip-version-check install \
	  --constraint $(VENV13)/constraints.txt '.[torch,ray]' hydra-joblib-launcher pytest pytest-timeout pytest-xdist tornado
	@touch $@
