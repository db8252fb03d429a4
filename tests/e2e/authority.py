"""A throw-away authority for tests of TLS."""
import subprocess

import pytest


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A folder with an authority (ca.pem), a certificate of it for 127.0.0.1 (server.pem, server.key), and another authority that
    did not sign it (other.pem)."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=folder, timeout=60)
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *new, "-days", "2", "-subj", "/CN=a throw-away authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *new, "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr")
    (folder / "ext").write_text("subjectAltName = IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext",
            "-out", "server.pem")
    openssl("req", "-x509", *new, "-days", "2", "-subj", "/CN=another authority", "-keyout", "other.key", "-out", "other.pem")
    return folder
