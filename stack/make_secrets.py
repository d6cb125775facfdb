"""`make secrets`: write what docker-compose.yml requires into .env, here or in a folder. What is there is kept."""

import base64
import os
import re
import secrets
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def required(compose: str) -> list[str]:
    """Return the names of the variables without which a compose file is refused."""
    return sorted(set(re.findall(r"\$\{(\w+):\?", compose)))


def secret(name: str) -> str:
    """Return a new secret of 256 bits; 32 bytes as Fernet wants them where a key for it is asked."""
    if name.endswith("FERNET_KEY"):
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_hex(32)  # needs no quoting, in a URL as little as in SQL


def main(folder: Path = ROOT) -> None:
    """Add what is missing to the folder's .env, in one step, readable by its owner alone."""
    env = folder / ".env"
    there = env.read_text() if env.exists() else ""
    known = set(re.findall(r"^\s*(?:export\s+)?(\w+)=", there, re.MULTILINE))
    missing = [name for name in required((ROOT / "docker-compose.yml").read_text()) if name not in known]
    if there and not there.endswith("\n"):
        there += "\n"
    descriptor, draft = tempfile.mkstemp(dir=folder, prefix=".env.")  # mode 600
    with os.fdopen(descriptor, "w") as file:
        file.write(there + "".join(f"{name}={secret(name)}\n" for name in missing))
        file.flush()
        os.fsync(file.fileno())
    Path(draft).replace(env)
    said = f"{len(missing)} secrets written to" if missing else "nothing is missing in"
    sys.stdout.write(f"{said} {env}\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
