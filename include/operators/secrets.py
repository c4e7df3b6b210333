"""No secret in Airflow's logs and XComs."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk.log import mask_secret

from include.backup.masking import known_secrets, mask


def tell_airflow_secrets() -> None:
    """Let Airflow mask in its logs what this package knows as a secret; connections it masks by itself."""
    for secret in sorted(known_secrets(os.environ)):
        mask_secret(secret)


def without_secrets(result: Any) -> Any:
    """
    Return a task's result with the secrets masked in every text for people, such as a server's words.

    What has no space in it is a name that other tasks go by (an archive's, a task's) and stays as it is.
    """
    if isinstance(result, dict):
        return {name: without_secrets(value) for name, value in result.items()}
    if isinstance(result, (list, tuple)):
        return [without_secrets(value) for value in result]
    return mask(result) if isinstance(result, str) and " " in result else result
