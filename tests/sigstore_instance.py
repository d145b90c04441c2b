"""A private Sigstore instance for tests: certificate authority, certificate log and transparency log.

Its cryptography is real (RFC 5280, RFC 6962, RFC 8785, signed notes), so Sigstore's own client signs with it
and checks against it. Unlike a true instance it believes every token, and its logs are only in memory.
"""

import base64
import hashlib
import json
import struct
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

GITHUB = "https://token.actions.githubusercontent.com"
_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_START = datetime(2020, 1, 1, tzinfo=UTC)


def token(workflow: str, issuer: str = GITHUB) -> str:
    """Return a token as a job of *workflow* gets it, such as ``org/repo/.github/workflows/x.yaml@ref``."""
    now = int(time.time())
    claims = {"iss": issuer, "sub": "repo", "aud": "sigstore", "iat": now, "exp": now + 600}
    parts = ({"alg": "RS256", "typ": "JWT"}, {**claims, "job_workflow_ref": workflow})
    return ".".join([*(_urlsafe(json.dumps(part).encode()) for part in parts), _urlsafe(b"unsigned")])


class Instance:
    """A running instance; ``close`` stops it."""

    def __init__(self) -> None:
        self.ambient = ""
        """The token that CI jobs get here."""
        self.late = 0
        """Seconds by which the log is slow: 3600 is beyond a certificate's life."""
        self._ca_key, self._ct_key, self._log_key = (generate_private_key(SECP256R1()) for _ in range(3))
        self._ca = _authority(self._ca_key)
        self._leaves = [hashlib.sha256(b"\0an earlier entry").digest()]
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def be_github(self, monkeypatch: Any, workflow: str) -> None:
        """Make this process a job of *workflow*, without a private key."""
        self.ambient = token(workflow)
        monkeypatch.delenv("GITUNE_SIGNING_KEY", raising=False)
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{self.url}/token?api-version=2.0")

    @property
    def trust_config(self) -> dict[str, Any]:
        """What clients of this instance are configured with."""
        valid = {"start": _START.isoformat()}
        service = [{"url": self.url, "majorApiVersion": 1, "operator": "tests", "validFor": valid}]
        chain = {"certificates": [{"rawBytes": _b64(self._ca.public_bytes(Encoding.DER))}]}
        authority = {"subject": {"organization": "tests", "commonName": "ca"}, "uri": self.url}
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [self._log(self._log_key)],
                "ctlogs": [self._log(self._ct_key)],
                "certificateAuthorities": [{**authority, "certChain": chain, "validFor": valid}],
            },
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": service,
                "oidcUrls": service,
                "rekorTlogUrls": service,
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaConfig": {"selector": "ANY"},
            },
        }

    def _log(self, key: Any) -> dict[str, Any]:
        public = {
            "rawBytes": _b64(_spki(key.public_key())),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": {"start": _START.isoformat()},
        }
        return {
            "baseUrl": self.url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": public,
            "logId": {"keyId": _b64(_key_id(key))},
        }

    def certify(self, request: dict[str, Any], bearer: str) -> dict[str, Any]:
        """Answer a request for a certificate, as Fulcio does."""
        csr = x509.load_pem_x509_csr(base64.b64decode(request["certificateSigningRequest"]))
        payload = bearer.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        subject = f"https://github.com/{claims['job_workflow_ref']}"
        unlogged = _leaf(csr.public_key(), self._ca, subject, claims["iss"])
        entry = self._timestamp(unlogged.sign(self._ca_key, SHA256()).tbs_certificate_bytes)
        logged = unlogged.add_extension(x509.UnrecognizedExtension(_SCT_LIST, entry), critical=False)
        chain = [logged.sign(self._ca_key, SHA256()), self._ca]
        texts = [one.public_bytes(Encoding.PEM).decode() for one in chain]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": texts}}}

    def _timestamp(self, tbs: bytes) -> bytes:
        """Return the extension with the certificate log's promise for a precertificate (RFC 6962, 3.2)."""
        stamp = struct.pack("!Q", int(time.time() * 1000))
        issuer = hashlib.sha256(_spki(self._ca.public_key())).digest()
        precert = struct.pack("!H", 1) + issuer + struct.pack("!I", len(tbs))[1:] + tbs
        signature = self._ct_key.sign(b"\0\0" + stamp + precert + b"\0\0", ECDSA(SHA256()))
        sct = b"\0" + _key_id(self._ct_key) + stamp + b"\0\0" + b"\x04\x03" + _sized(signature)
        der = _sized(_sized(sct))
        return b"\x04" + (bytes([len(der)]) if len(der) < 128 else b"\x81" + bytes([len(der)])) + der

    def log(self, proposed: dict[str, Any]) -> dict[str, Any]:
        """Answer a proposed entry with its proofs, as Rekor does."""
        body = _b64(_entry(proposed["spec"]["proposedContent"]))
        self._leaves.append(hashlib.sha256(b"\0" + base64.b64decode(body)).digest())
        index, root = len(self._leaves) - 1, _root(self._leaves)
        note = f"tests - 1\n{len(self._leaves)}\n{_b64(root)}\n"
        signed = _key_id(self._log_key)[:4] + self._log_key.sign(note.encode(), ECDSA(SHA256()))
        entry = {
            "body": body,
            "integratedTime": int(time.time()) + self.late,
            "logID": _key_id(self._log_key).hex(),
            "logIndex": index,
        }
        promise = self._log_key.sign(rfc8785.dumps(entry), ECDSA(SHA256()))
        proof = {
            "logIndex": index,
            "rootHash": root.hex(),
            "treeSize": len(self._leaves),
            "hashes": [node.hex() for node in _path(index, self._leaves)],
            "checkpoint": f"{note}\n\N{EM DASH} tests {_b64(signed)}\n",
        }
        verification = {"inclusionProof": proof, "signedEntryTimestamp": _b64(promise)}
        return {"entry": {**entry, "verification": verification}}


def _handler(instance: Instance) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer as GitHub's token service, and as an OpenID Connect provider that describes itself."""
            endpoints = {f"{name}_endpoint": instance.url for name in ("authorization", "token")}
            self._answer(200, {"value": instance.ambient} if "audience=sigstore" in self.path else endpoints)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/signingCert"):
                bearer = self.headers["Authorization"].removeprefix("Bearer ")
                self._answer(200, instance.certify(body, bearer))
            else:
                self._answer(201, instance.log(body))

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: Any) -> None:
            """Tests read the output."""

    return Handler


def _authority(key: Any) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_START)
        .not_valid_after(_START + timedelta(days=36500))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )


def _leaf(public: Any, ca: x509.Certificate, subject: str, issuer: str) -> x509.CertificateBuilder:
    now = datetime.now(UTC) - timedelta(seconds=5)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(minutes=10))
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(subject)]), critical=True)
        .add_extension(x509.UnrecognizedExtension(_ISSUER, issuer.encode()), critical=False)
    )


def _usage(**granted: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    names += ("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{**dict.fromkeys(names, False), **granted})


def _entry(content: dict[str, Any]) -> bytes:
    """Return the log's entry of a DSSE envelope: type dsse, version 0.0.1."""
    envelope = json.loads(content["envelope"])
    (verifier,) = content["verifiers"]
    signatures = [{"signature": one["sig"], "verifier": verifier} for one in envelope["signatures"]]
    digests = {
        "envelopeHash": content["envelope"].encode(),
        "payloadHash": base64.b64decode(envelope["payload"]),
    }
    spec = {
        key: {"algorithm": "sha256", "value": hashlib.sha256(text).hexdigest()}
        for key, text in digests.items()
    }
    return rfc8785.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": {**spec, "signatures": signatures}})


def _root(leaves: list[bytes]) -> bytes:
    """Return the Merkle tree hash of *leaves* (RFC 6962, 2.1)."""
    if len(leaves) == 1:
        return leaves[0]
    split = _split(leaves)
    return hashlib.sha256(b"\x01" + _root(leaves[:split]) + _root(leaves[split:])).digest()


def _path(index: int, leaves: list[bytes]) -> list[bytes]:
    """Return the audit path of a leaf (RFC 6962, 2.1.1)."""
    if len(leaves) == 1:
        return []
    split = _split(leaves)
    if index < split:
        return [*_path(index, leaves[:split]), _root(leaves[split:])]
    return [*_path(index - split, leaves[split:]), _root(leaves[:split])]


def _split(leaves: list[bytes]) -> int:
    return 1 << (len(leaves) - 1).bit_length() - 1


def _sized(content: bytes) -> bytes:
    return struct.pack("!H", len(content)) + content


def _spki(public: Any) -> bytes:
    return bytes(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _key_id(key: Any) -> bytes:
    return hashlib.sha256(_spki(key.public_key())).digest()


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _urlsafe(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
