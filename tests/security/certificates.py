"""An authority of the test run, and what it signs: PEM files in a directory, as an operator has them."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEY_PASSWORD = "opens-the-key"


class Pair(NamedTuple):
    """Paths of a certificate and its key, and of both in one file."""

    cert: Path
    key: Path
    both: Path


class Authority:
    """Signs certificates of servers on loopback and of clients by name; `ca` is its own certificate's file."""

    def __init__(self, directory: Path, name: str = "test authority") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        certificate = (
            _dated(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, *, dns: str = "localhost", address: str | None = "127.0.0.1") -> Pair:
        """For a server on this machine."""
        names: list[x509.GeneralName] = [x509.DNSName(dns)]
        if address is not None:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        return self._signed(f"server-{dns}", x509.SubjectAlternativeName(names), ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, name: str, *, password: str = "") -> Pair:
        """For a client; a password encrypts its key."""
        alternative = x509.SubjectAlternativeName([x509.DNSName(name)])
        return self._signed(name, alternative, ExtendedKeyUsageOID.CLIENT_AUTH, password=password)

    def _signed(
        self, name: str, alternative: x509.SubjectAlternativeName, usage: x509.ObjectIdentifier, *, password: str = ""
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _dated(_name(name), self._name, key.public_key())
            .add_extension(alternative, critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        locked = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        texts = (
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked),
        )
        found = Pair(*(self._directory / f"{name}{end}" for end in (".crt", ".key", ".pem")))
        for path, text in zip(found, (*texts, texts[1] + texts[0]), strict=True):
            path.write_bytes(text)
        return found


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _dated(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
