"""The two pipelines on one machine: start and stop the programs, run the demo."""
