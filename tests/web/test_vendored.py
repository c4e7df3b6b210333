"""What was written elsewhere lies here as it was published."""

from __future__ import annotations

import re
from hashlib import sha256

from include.web.app import STATIC
from tests.fix_airflow import REPOSITORY

UPLOT = STATIC / "uplot"


def test_uplot_is_what_the_document_says() -> None:
    """Each file has the SHA-256 that is written down; its licence and its version are with it."""
    document = (REPOSITORY / "docs" / "BACKUP_DEVELOPMENT.md").read_text()
    written = {name: digest for digest, name in re.findall(r"`([0-9a-f]{64})` `(uPlot\.[\w.]+)`", document)}
    assert written == {path.name: sha256(path.read_bytes()).hexdigest() for path in UPLOT.glob("uPlot*")}
    assert set(written) == {"uPlot.iife.min.js", "uPlot.min.css"}
    (version,) = re.findall(r"uPlot \((v[\d.]+)\)", (UPLOT / "uPlot.iife.min.js").read_text())
    assert f"uPlot {version[1:]} (MIT)" in document
    assert "MIT" in (UPLOT / "LICENSE").read_text()
