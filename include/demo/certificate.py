"""A self-signed certificate for the loopback interface, so that the demo's mail travels over verified TLS."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from include.demo.ports import HOST

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_server_context"]

VALID = timedelta(days=30)


def make_server_context(certificate: Path, key: Path, *, valid: timedelta = VALID) -> ssl.SSLContext:
    """
    Write a new certificate and its key, and return a server's TLS settings with both.

    Args:
        certificate: The PEM file that clients trust (SSL_CERT_FILE).
        key: The private key's file, mode 0600.
        valid: For how long from now on; negative for a certificate that has expired.
    """
    private_key = ec.generate_private_key(ec.SECP256R1())
    key.touch(mode=0o600)
    key.write_bytes(
        private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    certificate.write_bytes(self_signed(private_key, valid).public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def self_signed(private_key: ec.EllipticCurvePrivateKey, valid: timedelta) -> x509.Certificate:
    """Return a certificate for 127.0.0.1 and localhost that is its own authority."""
    now = datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address(HOST))])
    identifier = x509.SubjectKeyIdentifier.from_public_key(private_key.public_key())
    builder = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5) - abs(valid))
        .not_valid_after(now + valid)
        .add_extension(names, critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )
    return builder.sign(private_key, hashes.SHA256())
