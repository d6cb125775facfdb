"""Airflow's programs as the product starts them, under the environment's settings, until Ctrl-C."""

import time

from local.stack import running

if __name__ == "__main__":
    try:
        with running() as (services, _):
            print("up", flush=True)  # noqa: T201  the tests wait for it
            while True:
                services.check()
                time.sleep(1)
    except KeyboardInterrupt:
        pass
