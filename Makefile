# Two commands do all the set-up themselves: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT ?= demo

.PHONY: help setup demo test test-cloud dataflow-json same-bytes lint format bench bench-annotate bench-clip bench-train ablation-realign ablation-firm sweep soak clean

help:
	@echo "make demo    all three datasets from the embedded toy world, in $(OUT)/"
	@echo "make test    the test suite           make soak   its slow part (hours; SAMPLES=20000 shortens it)"
	@echo "make test-cloud   the part of it that needs S3 and GCS, against emulators"
	@echo "make dataflow-json   the job that Dataflow would be sent, in out/dataflow/"
	@echo "make same-bytes   one small dataset in seven ways (workers, slices, a job service), and the hash of each"
	@echo "make lint    format, lint, types and the import contract"
	@echo "make bench   measure beside the peers; writes benchmarks/RESULTS.md"
	@echo "make bench-annotate   the same for calls: installs the peers in .bench/ first"
	@echo "make bench-clip   CLIP beside its bare forward pass and its peers"
	@echo "make bench-train   rates of the trainer on a CPU (DATA=folder INIT=run of train sft)"
	@echo "make ablation-realign   reasoning, RL and its diversity on the drawn world (DATA=folder SEEDS=3 JOBS=1)"
	@echo "make ablation-firm   FIRM's rewards against their baselines     make sweep   sizes, rates, reasonings"

setup: $(READY)

$(READY): pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Plumbline needs Python 3.10 or newer: make PYTHON=python3.12 ..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (a few minutes the first time)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[all]'
	@touch $(READY)

demo: $(READY)
	@$(BIN)/plumbline demo --out $(OUT)

test: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile -m "not soak and not live"

# Against emulators of S3 and GCS that the tests start; `make test` runs these, too.
test-cloud: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile -m "cloud and not soak and not live"

# SAMPLES: of the one run that is timed and whose memory is watched; a million takes hours.
SAMPLES ?= 1000000

soak: $(READY)
	PLUMBLINE_SOAK_SAMPLES=$(SAMPLES) $(BIN)/pytest -m soak

dataflow-json: $(READY)
	$(BIN)/python -m tests.servers.dataflow out/dataflow

same-bytes: $(READY)
	@$(BIN)/python -m tests.servers.same_bytes

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m benchmarks

bench-annotate: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check psutil
	$(BIN)/python -m benchmarks.annotate

bench-clip: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check psutil
	$(BIN)/python -m benchmarks.clip

# INIT: the `out` of `plumbline train sft configs/train-toy.yaml`.
INIT ?= sft

bench-train: $(READY)
	$(BIN)/python -m benchmarks.training --data $(DATA) --init $(INIT)

# An output of `plumbline realign configs/toy.yaml --set samples=8000`; made where it is absent. MORE: further arguments, such as --quick.
DATA ?= out/ablations/data
SEEDS ?= 3
JOBS ?= 1
ABLATION := --data $(DATA) --jobs $(JOBS) $(MORE)

ablation-realign: $(READY)
	$(BIN)/python -m benchmarks.ablations.realign $(ABLATION) --seeds $(SEEDS)

ablation-firm: $(READY)
	$(BIN)/python -m benchmarks.ablations.firm $(ABLATION) --seeds $(SEEDS)

sweep: SEEDS = 1
sweep: $(READY)
	$(BIN)/python -m benchmarks.ablations.sweep $(ABLATION) --seeds $(SEEDS)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
