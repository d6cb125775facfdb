#!/bin/sh
set -eu
cd "$(dirname "$0")/../.."
PYTHONPATH=$PWD exec .venv/bin/python -W ignore -m tests.stack.measure
