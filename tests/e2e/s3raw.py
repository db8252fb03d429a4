"""Plain S3 requests, signed here: fast enough to fill buckets with tens of thousands of objects, and byte for byte what
the caller says, where a client library might tidy a key first. Independent of froe's own client on purpose.
"""
import concurrent.futures
import datetime
import hashlib
import hmac
import http.client
import threading
import urllib.parse

UNSIGNED = "UNSIGNED-PAYLOAD"


def quote(text, safe="-_.~"):
    return urllib.parse.quote(text, safe=safe)


def hmac_sha256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class RawS3:
    """One connection per thread to an endpoint on loopback, path style, plain HTTP."""

    def __init__(self, host, port, access_key, secret_key, region):
        self.host, self.port, self.region = host, port, region
        self.access_key, self.secret_key = access_key, secret_key
        self.local = threading.local()

    def request(self, method, path, query=(), body=b"", headers=None):
        """`path` is percent-encoded already. Gives (status, headers, body) and raises nothing for a status."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        sent = {"host": f"{self.host}:{self.port}", "x-amz-date": now, "x-amz-content-sha256": UNSIGNED}
        sent |= {name.lower(): value for name, value in (headers or {}).items()}
        names = ";".join(sorted(sent))
        line = "&".join(sorted(f"{quote(name)}={quote(value)}" for name, value in query))
        canonical = "\n".join([method, path, line, *(f"{name}:{sent[name].strip()}" for name in sorted(sent)), "", names,
                               UNSIGNED])
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + self.secret_key).encode()
        for word in scope.split("/"):
            key = hmac_sha256(key, word)
        signature = hmac_sha256(key, to_sign).hex()
        sent["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, SignedHeaders={names}, "
                                 f"Signature={signature}")
        target = path + ("?" + line if line else "")
        for last in (False, True):
            connection = getattr(self.local, "connection", None)
            if connection is None:
                connection = self.local.connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
            try:
                connection.request(method, target, body, sent)
                answer = connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (http.client.HTTPException, OSError):
                connection.close()
                self.local.connection = None
                if last:
                    raise

    def put(self, bucket, key, body, headers=None):
        """`key` is bytes or text. Gives the ETag."""
        key = key.encode() if isinstance(key, str) else key
        status, answer, text = self.request("PUT", f"/{bucket}/{quote(key, safe='/-_.~')}", body=body, headers=headers)
        if status != 200:
            raise RuntimeError(f"PUT {bucket}/{key!r}: {status} {text.decode(errors='replace')}")
        return answer["ETag"]

    def fill(self, bucket, objects, threads=8):
        """Puts an iterable of (key, body)."""
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda item: self.put(bucket, *item), objects))
