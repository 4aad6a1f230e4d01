# Everything runs in a virtual environment of its own, pinned by constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test lint unit docs git-lfs stock-tools bench-store bench-exactness bench-demo-update bench-knowledge bench-knowledge-quick bench-counterfact bench-history bench-sequence bench-neighbours bench-compact bench-update bench-after-effects bench-tables clean help

help:
	@echo "make demo               the story in a terminal, in ./adapterstore-demo"
	@echo "make test               ruff, mypy --strict and all tests"
	@echo "make docs               write the generated pages of docs/ again"
	@echo "make bench-store        commit against git + git-lfs; add, subtract, revert"
	@echo "make bench-exactness    our sums against peft's methods"
	@echo "make bench-demo-update  20 changes to the demo model: what is learned, what is kept"
	@echo "make bench-knowledge    plain fine-tuning, F-Learning as published and ours (hours)"
	@echo "make bench-knowledge-quick  the same, one seed and few facts"
	@echo "make bench-compact      20 terms of rank 8 folded: error, memory, and what is stated"
	@echo "make bench-history      blame, search and log in 1,000 commits and 10,000 facts"
	@echo "make bench-sequence     ten fact files, one small update after the other"
	@echo "make bench-neighbours   one changed fact: what becomes of facts that resemble it"
	@echo "make bench-update       what one update costs beside its training steps"
	@echo "make bench-after-effects  do forgotten answers come back, quantised or trained on?"
	@echo "make bench-tables       30 changed cells of a catalogue that the base knows by heart"
	@echo "make bench-counterfact  60 CounterFact records (DATA=folder, ../shared/data by default)"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	@$(BIN)/adapterstore demo

# What the tests judge by: git-lfs and ssh-keygen.
stock-tools git-lfs:
	@tests/compat/install-stock-tools

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One thread a worker: two workers keep two cores busy.
unit: $(READY) stock-tools
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -q

test: lint unit

docs: $(READY)
	$(BIN)/python -m tests.docs.generate

bench-store: $(READY) stock-tools
	$(BIN)/python -m tests.benchmarks.store

bench-exactness: $(READY)
	$(BIN)/python -m tests.benchmarks.exactness

bench-demo-update: $(READY)
	$(BIN)/python -m tests.benchmarks.demo_update

# Some hours; results stay in BENCH, and a second run goes on where the first stopped.
DATA ?= ../shared/data
BENCH ?= bench-knowledge
KNOWLEDGE = $(BIN)/python -m tests.benchmarks.knowledge --data $(DATA) --work $(BENCH)/bases
bench-knowledge: $(READY)
	$(KNOWLEDGE) --out $(BENCH)/results.jsonl
	$(KNOWLEDGE) --out $(BENCH)/results.jsonl --bases demo --ablation
	$(KNOWLEDGE) --out $(BENCH)/results.jsonl --bases counterfact --mixes lora --sequence

bench-knowledge-quick: $(READY)
	$(KNOWLEDGE) --out $(BENCH)/quick.jsonl --quick

bench-sequence: $(READY)
	$(BIN)/python -m tests.benchmarks.sequence

bench-neighbours: $(READY)
	$(BIN)/python -m tests.benchmarks.neighbours

bench-update: $(READY)
	$(BIN)/python -m tests.benchmarks.update

bench-after-effects: $(READY)
	$(BIN)/python -m tests.benchmarks.after_effects

bench-history: $(READY)
	$(BIN)/python -m tests.benchmarks.history

bench-compact: $(READY)
	$(BIN)/python -m tests.benchmarks.compact

bench-tables: $(READY)
	$(BIN)/python -m tests.benchmarks.tables --work $(BENCH)/bases

bench-counterfact: $(READY)
	$(BIN)/python -m tests.benchmarks.counterfact --data $(DATA)

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
