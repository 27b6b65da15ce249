"""TLS contexts from PEM files, for clients (Kafka, Redis, a token endpoint) and for our own ports.

Nothing can be switched off: a certificate is always verified, and a name as well. TLS 1.2 is the least.
"""

from __future__ import annotations

import ssl


class TlsFileError(ValueError):
    """A PEM file cannot be used. One line: which, why, what is expected; no key and no password in it."""


def client_context(*, ca_file: str = "", cert_file: str = "", key_file: str = "", password: str = "") -> ssl.SSLContext:
    """For a client that verifies its server.

    Parameters
    ----------
    ca_file
        Who may have signed the server's certificate; empty: the authorities that this system knows.
    cert_file, key_file
        Our own certificate with its chain, and its key, for servers that ask for one (mTLS); empty: none. The key may
        be in the certificate's file.
    password
        Of the key, where it is encrypted.

    Raises
    ------
    TlsFileError
        If a file cannot be read, holds something else, or the key is not the certificate's.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError) as error:
        raise TlsFileError(f"CA file {ca_file}: {_said(error)}; expected certificates in PEM") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert_file:
        _load_own(context, cert_file, key_file, password)
    return context


def server_context(*, cert_file: str, key_file: str = "") -> ssl.SSLContext:
    """For a port of ours. Raises TlsFileError as `client_context`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_own(context, cert_file, key_file, "")
    return context


def own_context(cert_file: str) -> ssl.SSLContext:
    """For asking a port of ours on this machine: it must show the certificate of this file, whatever names are in it.

    Raises TlsFileError as `client_context`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The certificate is the very one that is trusted: a name would add nothing, and 127.0.0.1 is not in it.
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cert_file)
    except (OSError, ValueError) as error:
        raise TlsFileError(f"certificate {cert_file}: {_said(error)}; expected a certificate in PEM") from None
    return context


def _load_own(context: ssl.SSLContext, cert_file: str, key_file: str, password: str) -> None:
    try:
        # Always a text: without one, an encrypted key would be asked for at the terminal, and a service hang there.
        context.load_cert_chain(cert_file, key_file or None, password=password)
    except (OSError, ValueError) as error:
        files = f"certificate {cert_file}" + (f" with key {key_file}" if key_file else "")
        raise TlsFileError(
            f"{files}: {_said(error)}; expected a certificate with its chain and its key in PEM, and the password of "
            "an encrypted key"
        ) from None


def _said(error: Exception) -> str:
    """OpenSSL's reason, or the system's."""
    if isinstance(error, ssl.SSLError):
        return error.reason.replace("_", " ").lower() if error.reason else "not PEM, or a wrong password"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
