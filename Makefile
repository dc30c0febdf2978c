# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
EPI := examples/data/pulseq_epi
SE := examples/data/pulseq_se
RECON := $(BIN)/pulsetwin recon --force

.PHONY: help demo test test-slow bench lint environment clean

help:
	@echo "make demo       reconstruct the real scans that ship with the repository, and a simulated one, into demo/"
	@echo "make test       run the tests"
	@echo "make test-slow  run the long tests too"
	@echo "make bench      run us beside our peers and print the ratios"
	@echo "make lint       check style and types"

environment: $(READY)

# torch comes first, so that the tested version is there before anything else asks for one.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "pulsetwin needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing the tested versions (a few minutes the first time)"
	@$(PIP) install -c constraints.txt torch
	@$(PIP) install -c constraints.txt -e ".[test,mrd,film]"
	@touch $@

# The EPI comes with a scan of the same train without phase encoding, the ghost reference; `epi_no_reference` does
# without it. The spin echo's .seq is signed otherwise than the one its raw data name, while counts, lengths and time
# stamps agree, hence --trust-seq.
demo: $(READY)
	@echo "== ramp-sampled EPI, with a ghost reference"
	@$(RECON) $(EPI)/ramp_epi_pe_plus.dat --seq $(EPI)/ramp_epi_pe_plus.seq \
		--reference $(EPI)/ramp_epi_pe_none.dat --reference-seq $(EPI)/ramp_epi_pe_none.seq -o demo/epi_ramp
	@echo "== flat-top EPI, with a ghost reference"
	@$(RECON) $(EPI)/basic_epi_pe_plus.dat --seq $(EPI)/basic_epi_pe_plus.seq \
		--reference $(EPI)/basic_epi_pe_none.dat --reference-seq $(EPI)/basic_epi_pe_none.seq -o demo/epi_basic
	@echo "== ramp-sampled EPI, without a reference"
	@$(RECON) $(EPI)/ramp_epi_pe_plus.dat --seq $(EPI)/ramp_epi_pe_plus.seq -o demo/epi_no_reference
	@echo "== spin echo, 32 channels"
	@$(RECON) $(SE)/image.dat --seq $(SE)/image.seq --trust-seq -o demo/spin_echo
	@echo "== digital twin: an EPI designed here, played on a brain by a receiver 1.5 us late"
	@$(BIN)/python examples/twin_sequences.py epi 64 demo/twin_epi.seq
	@$(BIN)/pulsetwin simulate --force demo/twin_epi.seq --phantom brain --coils 8 --snr 50 --receiver-delay 1.5e-6 \
		-o demo/twin_epi.dat
	@$(RECON) demo/twin_epi.dat --seq demo/twin_epi.seq -o demo/twin_epi
	@echo
	@echo "The figures:"
	@ls demo/*/figures/*.png
	@echo "The reports:"
	@ls demo/*/report.html

test: $(READY)
	@$(BIN)/python -m pytest -n auto --dist loadfile

test-slow: $(READY)
	@$(BIN)/python -m pytest -m "slow or not slow"

bench: $(READY)
	@$(PIP) install -c constraints.txt -e ".[bench]"
	@for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python -m benchmarks.$$(basename $$file .py) || exit 1; done

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean:
	rm -rf $(VENV) demo build *.egg-info
