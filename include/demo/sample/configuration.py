"""Write the configuration files of the sample project: what a backup takes besides the database."""

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SOURCE = Path(__file__).parent / "config"
HOST = "hub.example.com"
VALID_FOR = timedelta(days=365)
PRIVATE, PUBLIC = 0o600, 0o644


def write_sample_configuration(folder: Path) -> list[Path]:
    """Write the sample project's configuration files into a folder, replacing those of an earlier call.

    Args:
        folder: Made if it is missing.

    Returns:
        The five files. The certificate is self-signed and new at every call, so that no private key is ever
        part of this package; the key and .env.production are readable by their owner only.

    Raises:
        OSError: If the folder cannot be written.
    """
    certificate, key = _self_signed_certificate()
    contents = {
        ".env.production": ((SOURCE / ".env.production").read_bytes(), PRIVATE),
        "docker-compose.prod.yml": ((SOURCE / "docker-compose.prod.yml").read_bytes(), PUBLIC),
        "nginx.prod.conf": ((SOURCE / "nginx.prod.conf").read_bytes(), PUBLIC),
        "ssl/cert.pem": (certificate, PUBLIC),
        "ssl/key.pem": (key, PRIVATE),
    }
    return [_write(folder / name, content, mode) for name, (content, mode) in contents.items()]


def _write(path: Path, content: bytes, mode: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a new file gets its mode before its content, an old one would keep its own
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask
        file.write(content)
    return path


def _self_signed_certificate() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private
