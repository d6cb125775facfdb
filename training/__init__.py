"""The machine-learning area: it pulls training sets from Feast and evaluates, gates and registers models in MLflow."""
