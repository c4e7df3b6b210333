"""A real Docker engine that a test starts for itself: its images stay, everything else goes with it."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from include.demo.child_process import bound_to_parent, last_lines, start_child

START_SECONDS = 30
BUILD_SECONDS = 900
# Builds reach the packages through this machine's own network; containers have one that leads nowhere else.
BUILDS = ("--iptables=false", "--bridge=none")
RUNS = ("unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


class Engine:
    """
    Docker's client, bound to one engine.

    Args:
        folder: Where `.ci/docker FOLDER engine` has put the programs; the engine's images lie there as well.
        own: For its socket and its log.
    """

    def __init__(self, folder: Path, own: Path) -> None:
        self.folder = folder
        self._own = own
        self.environment = {
            "PATH": f"{folder / 'bin'}:/usr/sbin:{os.environ['PATH']}",
            "HOME": str(own),
            "DOCKER_HOST": f"unix://{own / 'docker.sock'}",
            "DOCKER_CONFIG": str(folder / "config"),
            "DOCKER_BUILDKIT": "1",
        }

    def docker(self, *arguments: str | Path, timeout_seconds: int = 120) -> str:
        """Return what the client prints; it must succeed."""
        answer = subprocess.run(
            ["docker", *arguments],
            env=self.environment,
            executable=str(self.folder / "bin" / "docker"),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
        )
        assert answer.returncode == 0, answer.stderr[-4000:]
        return answer.stdout.strip()

    def build(self, context: Path, tag: str, *options: str) -> None:
        """Build an image."""
        self.docker("build", "--network=host", "--tag", tag, *options, context, timeout_seconds=BUILD_SECONDS)

    def files(self, image: str) -> dict[str, tuple[object, ...]]:
        """Return what is in an image: of each path the rights, owners and what it holds, without times."""
        container = self.docker("create", image)
        found: dict[str, tuple[object, ...]] = {}
        command = [str(self.folder / "bin" / "docker"), "export", container]
        with (
            subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE) as export,
            tarfile.open(fileobj=export.stdout, mode="r|") as members,
        ):
            for member in members:
                content = members.extractfile(member) if member.isreg() else None
                sha256 = hashlib.sha256(content.read()).hexdigest() if content else ""
                found[member.name] = (member.type, member.mode, member.uid, member.gid, member.linkname, sha256)
        self.docker("rm", container)
        return found

    def import_debian(self, tag: str, release: str) -> None:
        """Make an image of a plain Debian, unless it is there."""
        if self.docker("images", "--quiet", tag):
            return
        archive = self._own / "debian.tar"
        command: list[str | Path] = ["mmdebstrap", "--quiet", "--variant=minbase", release, archive]
        subprocess.run(command, env=os.environ | {"PATH": self.environment["PATH"]}, check=True, timeout=BUILD_SECONDS)
        self.docker("import", archive, tag, timeout_seconds=BUILD_SECONDS)
        archive.unlink()

    @contextmanager
    def running(self, *, builds: bool) -> Iterator[None]:
        """Run the engine: for builds, or for containers."""
        daemon = [
            str(self.folder / "bin" / "dockerd"),
            f"--data-root={self.folder / 'data'}",
            f"--exec-root={self._own / 'exec'}",
            f"--pidfile={self._own / 'docker.pid'}",
            f"--host={self.environment['DOCKER_HOST']}",
        ]
        command = [*daemon, *BUILDS] if builds else [*RUNS, *daemon]
        child = start_child(
            "dockerd",
            [*bound_to_parent(signal.SIGTERM), *command],
            environment=self.environment,
            log=self._own / "dockerd.log",
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not self._answers():
                assert time.monotonic() < deadline, last_lines(child.log)
                time.sleep(0.3)
            yield
        finally:
            child.request_stop(signal.SIGTERM)
            child.wait_or_kill(START_SECONDS)
            shutil.rmtree(self._own / "exec", ignore_errors=True)

    def _answers(self) -> bool:
        ask = [str(self.folder / "bin" / "docker"), "info"]
        return subprocess.run(ask, env=self.environment, capture_output=True, check=False).returncode == 0
