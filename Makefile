# SPDX-License-Identifier: GPL-3.0-or-later
# Two commands for people, each doing all its own set-up: make quickstart, make test.
# Containers and their networks take root: without it the commands start over through sudo.

PYTHON ?= $(shell command -v python3)
BIN := $(CURDIR)/build/venv/bin
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/build/collections
export ANSIBLE_HOME := $(CURDIR)/build/ansible
export PATH := $(BIN):$(CURDIR)/build/bin:$(PATH)
export PYTHONDONTWRITEBYTECODE := 1
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=PATH,ANSIBLE_COLLECTIONS_PATH,ANSIBLE_HOME,PYTHON,QUICKSTART_BEGAN,ENGINE_VERSION,PROVE_ACCELERATOR,CI)

.DEFAULT_GOAL := help
.PHONY: help setup quickstart quickstart-down test test-all check lock test-gpu-image lint unit sets contract integration molecule sanity \
        bench-rollout bench-data bench-engine bench-images bench-fleet bench-zero-trust image prove-rollout prove-images peer-tests collection \
        requirements clean

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

setup: ## Install or build what everything below needs (once)
	@$(AS_ROOT) $(PYTHON) bin/setup

quickstart: export QUICKSTART_BEGAN := $(shell date +%s)
quickstart: setup ## Build images, deploy, convert, roll under load: on this machine, no cloud account
	@$(AS_ROOT) $(BIN)/python bin/quickstart

quickstart-down: ## Take away all that quickstart started
	@$(AS_ROOT) $(BIN)/python bin/quickstart --down

test: setup ## Every check of a change
	@$(AS_ROOT) $(BIN)/python bin/check

test-all: setup ## Every check, those of every night too (hours)
	@$(AS_ROOT) $(BIN)/python bin/check --all

check: setup ## Some of the checks: make check PARTS="lint molecule/redis"
	@$(AS_ROOT) $(BIN)/python bin/check $(PARTS)

bench-rollout: setup ## Measure rolls against their peers (some minutes)
	@$(BIN)/python benchmarks/rollout.py

bench-data: setup ## Measure redis and nats against a minimal configuration (some minutes)
	@$(AS_ROOT) $(BIN)/python benchmarks/data.py

bench-engine: setup ## Measure the conversion service against the library, assimp and itself; ten minutes of kills (twenty minutes)
	@command -v assimp >/dev/null || $(AS_ROOT) sh -c 'apt-get update -qq && apt-get install -qq -y --no-install-recommends assimp-utils'
	@$(BIN)/python benchmarks/engine.py $(BENCH)

bench-fleet: setup ## Measure a second deploy of fleets of 1, 10 and 100 services, and look for ports beyond the file (two minutes)
	@$(BIN)/python benchmarks/fleet.py

bench-zero-trust: setup ## Measure what the tailnet costs, look for secrets on hosts and in an image, and for open ports (ten minutes)
	@$(AS_ROOT) $(BIN)/python -m localcloud base debian-12 debian-13
	@$(AS_ROOT) $(BIN)/python benchmarks/zero_trust.py

prove-rollout: export ROLLOUT_SCHEDULES ?= 25000
prove-rollout: setup ## Roll through 25,000 new random schedules of faults (half an hour)
	@$(BIN)/python -m pytest -q tests/unit/plugins/module_utils/rollout/test_schedules.py

bench-images: setup ## Measure builds of a GPU image against plain Packer (some twenty minutes: NVIDIA's module is compiled twice)
	@$(AS_ROOT) $(BIN)/python benchmarks/images.py

image: setup ## Build one image, if anything that feeds it changed (PROFILE=gpu SERVICE=engine)
	@$(BIN)/python bin/build-image $(or $(PROFILE),cpu) $(or $(SERVICE),engine)

prove-images: setup ## Build every profile and start each image as hosts and as virtual machines (PROFILES=gpu for one)
	@$(AS_ROOT) sh -c 'command -v qemu-system-x86_64 >/dev/null || { apt-get update -qq && apt-get install -qq -y --no-install-recommends qemu-system-x86; }'
	@$(AS_ROOT) $(BIN)/python bin/prove-images $(PROFILES)

peer-tests: setup ## Run the targets of amazon.aws and community.aws against a local cloud (PEERS='CHECKOUT ...', TARGETS='elb_*')
	@test -n "$(PEERS)" || { echo "peer-tests: name the checkouts: make peer-tests PEERS='/path/to/amazon.aws /path/to/community.aws'" >&2; exit 2; }
	@$(AS_ROOT) $(BIN)/python bin/peer-tests $(PEERS) $(if $(TARGETS),--target $(TARGETS))

lock: setup ## Lock the newest kernels and drivers that compile together (LOCK='debian-13 --flavour open' for one; an hour for all)
	@$(AS_ROOT) $(BIN)/python -m localcloud base debian-12 debian-13
	@$(AS_ROOT) $(BIN)/python bin/lock-pair $(LOCK)

test-gpu-image: setup ## Compile and prove NVIDIA's driver in a host without a GPU (some minutes; not part of test)
	@$(AS_ROOT) $(BIN)/python -m localcloud base debian-13
	@$(AS_ROOT) $(BIN)/molecule test -s nvidia_driver

lint unit sets contract integration molecule sanity: setup ## One part of the checks
	@$(AS_ROOT) $(BIN)/python bin/check $@

collection: setup ## Build the tarball that ansible-galaxy installs
	@mkdir -p build/dist && $(BIN)/ansible-galaxy collection build --force --output-path build/dist

requirements: ## Refresh the locks in requirements/ (needs the network and uv from PyPI)
	@$(PYTHON) bin/lock-requirements

clean: quickstart-down ## Take away the toolchain below build/ too
	rm -rf build
