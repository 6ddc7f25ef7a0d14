# `make demo` and `make test` need Python 3.11, git and make; everything else is made in .venv from
# requirements.lock, once. `make` alone lists the targets. Works with GNU make 3.81, which macOS has.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-the-lock
PYTHONS := $(or $(PYTHON),python3.11 python3 python)
PYTEST_ARGS ?=
# One a core and 2.3 GB each; 0 runs all tests in one process.
WORKERS ?= 2

# Where the native code is built; `make fuzz` runs each of its three programs this long.
NATIVE := build/native
FUZZ_SECS ?= 200

.PHONY: help venv tflite emulated native fuzz demo proof readme-picture test test-all test-mutants check lock clean

help:
	@echo "make demo      export topformer-t for Android, verify it, segment a picture; into demo/"
	@echo "make test      the tests       (PYTEST_ARGS='-k bundle' narrows, WORKERS=0 is one process)"
	@echo "make test-all  the tests, full ones too (the same), and every model through every format"
	@echo "make test-mutants  change the checks one thing at a time: a test must notice  (hours)"
	@echo "make check     ruff, ruff format, mypy --strict, import-linter"
	@echo "make venv      .venv from requirements.lock, as every target does  (PYTHON=... picks one)"
	@echo "make tflite    the classic tflite-runtime in an environment of its own, for the tests that try it"
	@echo "make emulated  the ARM libraries and programs that emulated devices need  (qemu-user, cross compiler)"
	@echo "make native    the C core: preprocessing, exact mask, overlay; edgevit then uses it  (cmake, cc)"
	@echo "make fuzz      libFuzzer on the C core, 10 minutes  (FUZZ_SECS=200 for each of 3 programs; clang)"
	@echo "make proof     what TopFormer-T takes on an emulated ARM core; docs/proof.md  (1 to 2 h; PEERS=1: ncnn, MNN)"
	@echo "make readme-picture   make demo, and then README.md's pictures anew"
	@echo "make lock      resolve pyproject.toml anew and write requirements.lock"
	@echo "make clean     remove demo/, builds and caches; .venv stays"

venv: $(STAMP)

# The pins reach the isolated builds of source packages through PIP_CONSTRAINT (pip before 25.3), and
# edgevit's own build backend is in the lock, so nothing unpinned is downloaded.
$(STAMP): requirements.lock pyproject.toml
	@for python in $(PYTHONS); do \
	  if $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    $(BIN)/python -c 'import pip' 2>/dev/null || $$python -m venv --clear $(VENV); exit; fi; \
	done; \
	echo "edgevit needs Python 3.11 or newer with its venv module; none was found ($(PYTHONS))." >&2; \
	echo "Next: Debian: apt-get install python3.11-venv; or make PYTHON=/path/to/python3.11" >&2; \
	exit 1
	@echo "Filling $(VENV) from requirements.lock: about 3 GB with the CPU build of torch, minutes."
	@PIP_CONSTRAINT=requirements.lock $(BIN)/python -m pip install -qq -r requirements.lock
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check
	@touch $@

# The classic tflite-runtime, in a directory of the user (docs/install.md); optional.
tflite: $(STAMP)
	@$(BIN)/edgevit device setup tflite

# ARM cores to count on, in a directory of the user (docs/devices.md); optional.
emulated: $(STAMP)
	@$(BIN)/edgevit device setup emulated

native:
	@cmake -S runtimes/native -B $(NATIVE)/host >/dev/null
	@cmake --build $(NATIVE)/host
	@cp $(NATIVE)/host/core/libedgevit_core.so edgevit/tasks/pixels/

fuzz:
	@clang=$$(command -v clang-19 || command -v clang) || \
	  { echo "make fuzz needs clang. Next: Debian: apt-get install clang-19 libclang-rt-19-dev" >&2; exit 1; }; \
	cmake -S runtimes/native -B $(NATIVE)/fuzz -DCMAKE_C_COMPILER=$$clang -DCMAKE_BUILD_TYPE=RelWithDebInfo \
	  -DEDGEVIT_FUZZ=ON -DEDGEVIT_SANITIZE=address,undefined >/dev/null
	@cmake --build $(NATIVE)/fuzz
	@for name in input mask overlay; do \
	  mkdir -p $(NATIVE)/fuzz/corpus/$$name; \
	  $(NATIVE)/fuzz/core/fuzz_$$name -max_total_time=$(FUZZ_SECS) -max_len=512 -verbosity=0 \
	    -print_final_stats=1 -artifact_prefix=$(NATIVE)/fuzz/ $(NATIVE)/fuzz/corpus/$$name 2>&1 \
	    | sed -n "s/^stat::number_of_executed_units:/fuzz_$$name: runs/p; /ERROR\|SUMMARY\|runtime error\|Test unit/p" ; \
	  test "$${PIPESTATUS[0]}" -eq 0 || exit 1; \
	done

demo: $(STAMP)
	@mkdir -p demo && rm -rf demo/segmented
	$(BIN)/edgevit export topformer-t --target android-arm64 -o demo/bundle --force
	$(BIN)/edgevit verify demo/bundle
	$(BIN)/python scripts/demo_picture.py demo/pictures/scene.png
	$(BIN)/edgevit run demo/bundle demo/pictures/scene.png -o demo/segmented
	@echo
	@echo "The bundle for a phone:               $(CURDIR)/demo/bundle"
	@echo "A picture the weights never saw:      $(CURDIR)/demo/pictures/scene.png"
	@echo "What was found in it, the overlay:    $(CURDIR)/demo/segmented/scene.overlay.png"

# Goes on where it was stopped. PEERS=1 fetches ncnn and MNN into a directory of their own.
proof: $(STAMP)
	@$(BIN)/edgevit device setup emulated --quiet
	@$(if $(PEERS),PYTHONPATH=. $(BIN)/python -m benchmarks.peers_on_arm $(VENV)/peers)
	@PYTHONPATH=. $(BIN)/python benchmarks/proof.py --jobs $(WORKERS) $(if $(PEERS),--peers $(VENV)/peers)

# README.md's two pictures, to be made again when the demo weights change.
readme-picture: demo
	@mkdir -p docs/images
	cp demo/segmented/scene.overlay.png docs/images/segmented.png
	$(BIN)/python scripts/demo_picture.py docs/images/scene.jpg

test: export TIMEFORMAT = make test took %0lR, and %0U + %0S seconds of the processors
test: $(STAMP)
	@time $(BIN)/python -m pytest -m "not full" -n $(WORKERS) $(PYTEST_ARGS)

# The second takes hours, and goes on where it was stopped; it writes docs/models.md.
test-all: $(STAMP)
	@$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)
	@PYTHONPATH=. $(BIN)/python benchmarks/models_matrix.py

# Goes on where it was stopped. MODULES='parity manifest' narrows.
test-mutants: $(STAMP)
	@$(BIN)/python scripts/mutants.py $(MODULES)

check: $(STAMP)
	@failed=; \
	for tool in "ruff check" "ruff format --check" "mypy" "lint-imports"; do \
	  echo "== $$tool"; $(BIN)/$$tool || failed="$$failed, $$tool"; \
	done; \
	if [ -n "$$failed" ]; then echo "make check failed: $${failed#, }" >&2; exit 1; fi; \
	echo "make check passed"

lock: $(STAMP)
	@$(BIN)/python scripts/lock.py --resolve

clean:
	@rm -rf demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
