"""An S3-compatible server on loopback, with versions, Object Lock, and users who may do some things and not others."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import httpx
import pytest

from include.demo.ports import free_port

REGION = "us-east-1"
START_SECONDS = 60
LOCK_DAYS = 30

# What the documentation gives to the backup host: it may add and look, and remove nothing.
PUT_AND_GET = ("s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:AbortMultipartUpload")
PUT_GET_AND_DELETE = (*PUT_AND_GET, "s3:DeleteObject")


@dataclass(frozen=True)
class Login:
    """A user of the store."""

    key: str
    secret: str


@dataclass
class ObjectStore:
    """A running server; what is asked without a valid login is refused."""

    port: int
    process: subprocess.Popen[bytes]
    owner: Login = field(default_factory=lambda: Login("", ""))

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str = "s3", login: Login | None = None) -> Any:
        """Return a client of the vendor's own library, by default that of the bucket's owner."""
        login = login or self.owner
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=login.key,
            aws_secret_access_key=login.secret,
        )

    def login(self, *actions: str) -> Login:
        """Make a user who may do these things."""
        name, iam = f"user-{secrets.token_hex(4)}", self.client("iam")
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="may", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Login(key["AccessKeyId"], key["SecretAccessKey"])

    def bucket(self, *, locked: bool = False) -> str:
        """Make a bucket; a locked one keeps every version for LOCK_DAYS, from everybody."""
        name, s3 = f"bucket-{secrets.token_hex(4)}", self.client()
        s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
        if locked:
            rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": LOCK_DAYS}}
            s3.put_object_lock_configuration(
                Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
            )
        return name

    def connection(self, login: Login, *, port: int | None = None) -> str:
        """Return the Airflow connection of a login, as JSON."""
        extra = {
            "endpoint_url": f"http://127.0.0.1:{port or self.port}",
            "region_name": REGION,
            "config_kwargs": {"retries": {"max_attempts": 1}},  # tests wait for no server that is away
        }
        return json.dumps({"conn_type": "aws", "login": login.key, "password": login.secret, "extra": extra})

    def content(self, bucket: str) -> dict[str, bytes]:
        """Return what is in a bucket now, by key."""
        s3 = self.client()
        keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]
        return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise RuntimeError(f"the S3-compatible server did not answer on port {self.port}")


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """A server whose users' rights are enforced, and its owner, who may do everything."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment()) as process:
        try:
            store = ObjectStore(port, process, Login("first", "first"))
            store.wait()
            store.owner = store.login("*")
            httpx.post(f"{store.url}/moto-api/reset-auth", content="0").raise_for_status()
            yield store
        finally:
            process.terminate()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
