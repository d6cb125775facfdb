"""The data-engineering area: it sources, cleans, validates and publishes census features into Feast."""
