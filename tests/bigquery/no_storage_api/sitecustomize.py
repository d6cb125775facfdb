"""For programs that tests start: the client libraries believe that BigQuery's Storage Read API is not installed."""

import sys

sys.modules["google.cloud.bigquery_storage"] = None
