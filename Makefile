# make demo: install into .venv, train on the bundled digits, export, verify.   make test: install, run the tests.
# PYTHON is the interpreter to use. Where it is not given: python3, or another one if MXNet does not run on that.
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= runs/demo

# Files of tests for `make test` and `make coverage`; none: all.
TESTS ?=

# Folders of C++.
CXX_FOLDERS := bmx/ops/src bmx/ops/src/mxnet tests/native \
  runtime/src runtime/include runtime/bmx_run runtime/examples runtime/tests
CXX_FILES := $(wildcard $(foreach ending,cc h hpp c,$(addsuffix /*.$(ending),$(CXX_FOLDERS))))

# Sanitizers of `make runtime-sanitized`: address,undefined or thread.
SANITIZE ?= address,undefined
comma := ,

# How long `make fuzz` tries each target.
SECONDS ?= 600

.PHONY: demo docs lint test test-full coverage test-native test-clang test-neon runtime-test runtime-sanitized runtime-neon
.PHONY: fuzz clean

$(BIN)/installed: setup.py pyproject.toml $(wildcard bmx/ops/src/* bmx/ops/src/mxnet/*)
	python=$$($(if $(PYTHON),$(PYTHON) find_python.py,python3 find_python.py --any)) && "$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

# What only some targets need, by the name of the extra in pyproject.toml.
$(BIN)/installed-%: $(BIN)/installed
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

demo: $(BIN)/installed
	@mkdir -p $(DEMO)
	$(BIN)/python train_imagenet.py --model meliusnet29 --save-dir $(DEMO) --resume
	$(BIN)/python -m bmx verify $(DEMO)/meliusnet29 --params $(DEMO)/meliusnet29-best.params

# The site, in build/site. The tutorial is executed; its runtime lies beside the environment, not in it.
docs: $(BIN)/installed-docs
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target build/docs/runtime ./runtime/python
	PATH="$(abspath $(BIN)):$$PATH" PYTHONPATH=$(abspath build/docs/runtime) NO_MKDOCS_2_WARNING=1 \
	  $(BIN)/python -W ignore -m mkdocs build --strict

# What reads the sources alone: mistakes, lines and imports; the form of the C++; types.
lint: $(BIN)/installed-lint
	$(BIN)/ruff check .
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)
	$(BIN)/mypy bmx
	cd runtime/python && $(abspath $(BIN))/mypy

test: $(BIN)/installed
	$(BIN)/python -m pytest -q --numprocesses auto --dist loadfile $(TESTS)

# Everything, the large matrices of shapes included.
test-full: $(BIN)/installed
	$(BIN)/python -m pytest -q -m 'full or not full'

# The lines of Python that the tests run, by file, and those that they do not.
coverage: $(BIN)/installed-coverage
	@mkdir -p build/coverage
	$(BIN)/python -m coverage run -m pytest -q $(TESTS)
	$(BIN)/python -m coverage report --show-missing >build/coverage/report.txt
	@tail -n 1 build/coverage/report.txt

# The C++ kernels against plain loops, without MXNet: as they are and with sanitizers.
test-native:
	$(MAKE) -C tests/native plain sanitized

# The library and the kernels' tests, compiled by Clang (Debian, Ubuntu: apt-get install clang libomp-dev).
test-clang:
	CXX=clang++ $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/clang .
	$(MAKE) -C tests/native plain CXX=clang++ BUILD=../../build/native-clang THINNING=12

# The same for AArch64 under QEMU (Debian, Ubuntu: apt-get install g++-aarch64-linux-gnu qemu-user).
test-neon:
	$(MAKE) -C tests/native neon

# The runtime without MXNet: built, its tests, a picture, and the wheel in fresh environments of the oldest and the newest
# Python here (runtime/python/try_wheel.py). CMake, a C++ compiler, and for pictures their libraries
# (Debian, Ubuntu: apt-get install cmake libjpeg-dev libpng-dev).
runtime-test:
	$(call runtime,build/runtime,-DBMX_WERROR=ON)
	build/runtime/bmx_run/bmx-run runtime/tests/data/levels runtime/python/tests/data/picture.png
	python3 runtime/python/try_wheel.py --bmx-run build/runtime/bmx_run/bmx-run

runtime-sanitized:
	$(call runtime,build/runtime-$(firstword $(subst $(comma), ,$(SANITIZE))),-DBMX_SANITIZE=$(SANITIZE))

runtime-neon:
	$(call runtime,build/runtime-neon,-DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake)

# Builds and tests the runtime in a folder. Arguments: the folder, CMake's options.
define runtime
cmake -S runtime -B $(1) $(2)
cmake --build $(1) -j$$(nproc)
cd $(1) && ctest --output-on-failure
endef

# Random trials of what must never go wrong: damaged files, hostile images, kills, programs; prints figures.
fuzz: $(BIN)/installed
	$(BIN)/python -W ignore -m tests.fuzz --seconds $(SECONDS)
	$(MAKE) -C tests/native fuzz SECONDS=$(SECONDS)

clean:
	rm -rf $(VENV) build dist bmx.egg-info runs
