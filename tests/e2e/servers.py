"""The three S3 servers that the tests run against, behind one face.

What a server can do is told by names, so that a test says what it needs and a skip says who lacks it:

    conditional_delete   DELETE obeys If-Match
    versioning           buckets keep versions
    list_prefix          ListBuckets obeys prefix
    paged_buckets        ListBuckets obeys max-buckets
    strict_auth          a wrong signature or an unknown key is refused
    users                other users can be made, who may not touch a bucket
    storage_class        an object's storage class is kept and listed, whichever of AWS's it is
    standard_ia          STANDARD_IA is, at least
    odd_keys             any bytes of a key survive
    null_version_id      a GET tells that it reads the version `null` of a bucket with versions
    suspended_versions   suspending versioning keeps the versions that are there
    multipart            objects can be uploaded in parts
    refused_parts        parts can be made to fail, after an upload was begun
    regions              a bucket has its region, and what is signed for another is not taken
    lifecycle            buckets have lifecycle rules
    faults               misbehaves on order, and tells what it was asked (the fake alone)
"""
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import boto3
import botocore.config
import rgw
from s3raw import RawS3

REGION = "us-east-1"
ACCESS_KEY, SECRET_KEY = "test", "test"


class Server:
    name = ""
    can = frozenset()
    access_key, secret_key, region = ACCESS_KEY, SECRET_KEY, REGION
    process = None

    def ready(self, port, scheme="http", ca=None):
        self.port, self.ca = port, ca
        self.endpoint = f"{scheme}://127.0.0.1:{port}"
        self.raw = RawS3("127.0.0.1", port, self.access_key, self.secret_key, self.region)
        self.s3 = self.client()

    def client(self, access_key=None, secret_key=None, region=None):
        config = botocore.config.Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2},
                                        max_pool_connections=32, request_checksum_calculation="when_required",
                                        response_checksum_validation="when_required")
        return boto3.client("s3", endpoint_url=self.endpoint, region_name=region or self.region, config=config, verify=self.ca,
                            aws_access_key_id=access_key or self.access_key,
                            aws_secret_access_key=secret_key or self.secret_key)

    def env(self):
        """What froe is told about this server."""
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": self.region, "AWS_ACCESS_KEY_ID": self.access_key,
                "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def make_bucket(self, name, versioning=None, region=None):
        place = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region else {}
        self.s3.create_bucket(Bucket=name, **place)
        if versioning:
            self.set_versioning(name, versioning)

    def set_versioning(self, name, status):
        self.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status})

    def keys(self, bucket):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def versions(self, bucket):
        """[(key, version id, is it a delete marker)]"""
        found = []
        for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found += [(item["Key"], item["VersionId"], False) for item in page.get("Versions", [])]
            found += [(item["Key"], item["VersionId"], True) for item in page.get("DeleteMarkers", [])]
        return found

    def body(self, bucket, key):
        return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


def wait_for(what, check, seconds=30):
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not after {seconds} s")
        time.sleep(0.02)


class FakeServer(Server):
    """froe-s3mock of the build under test. Its admin endpoints are described in docs/s3mock.md."""

    name = "fake"
    can = frozenset({"conditional_delete", "versioning", "list_prefix", "paged_buckets", "strict_auth", "storage_class", "odd_keys",
                     "null_version_id", "suspended_versions", "multipart", "faults", "standard_ia", "refused_parts", "regions"})

    def __init__(self, folder, build, wrapper=(), options=(), tls=None, ca=None):
        port_file = os.path.join(folder, "s3mock-port")
        command = [*wrapper, os.path.join(build, "src/mock/froe-s3mock"), "--port-file", port_file, *options]
        if tls:
            command += ["--tls-cert", str(tls[0]), "--tls-key", str(tls[1])]
        self.log = os.path.join(folder, "s3mock.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

        def listens():
            if self.process.poll() is not None:
                raise RuntimeError(f"froe-s3mock ended at once: {open(self.log, encoding='utf-8').read()}")
            return os.path.exists(port_file)
        try:
            wait_for("froe-s3mock's port", listens)
        except BaseException:
            self.stop()
            raise
        with open(port_file, encoding="utf-8") as file:
            self.ready(int(file.read()), "https" if tls else "http", ca)

    def admin(self, method, path, body=None):
        request = urllib.request.Request(f"{self.endpoint}/_mock/{path}", body.encode() if body else None, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def misbehave(self, orders):
        self.admin("POST", "faults", orders)

    def behave(self):
        self.admin("POST", "reset?what=faults")

    def refuse_parts(self, bucket):
        """All but the first. Tells the code of the answer."""
        self.misbehave(f"error op=upload-part bucket={bucket} status=403 code=AccessDenied after-n=1")
        return "AccessDenied"

    def stats(self):
        return self.admin("GET", "stats")

    def seed(self, bucket, count, size=16, prefix="object-"):
        """Generated objects, as many as one likes at once: their keys are `prefix` and a number."""
        self.admin("POST", f"seed?bucket={bucket}&count={count}&size={size}&prefix={prefix}")

    def restore(self, bucket, key):
        self.admin("POST", f"restore?bucket={bucket}&key={key}")

    @staticmethod
    def redirects(stats):
        return sum(stats["statuses"].get(status, 0) for status in ("301", "307"))

    def in_region(self, region):
        return RawS3("127.0.0.1", self.port, self.access_key, self.secret_key, region)

    def stop(self):
        """It must end well, with nothing to complain of by a sanitizer."""
        if self.process:
            self.process.terminate()
            try:
                code = self.process.wait(60)
            finally:
                super().stop()
            text = open(self.log, encoding="utf-8", errors="replace").read()
            assert code == 0 and "Sanitizer" not in text and "runtime error" not in text, text


class MotoServer(Server):
    name = "moto"
    can = frozenset({"conditional_delete", "versioning", "list_prefix", "paged_buckets", "storage_class", "standard_ia", "multipart",
                     "lifecycle"})

    def __init__(self, folder, build, wrapper=()):
        port = rgw.free_port()
        program = os.path.join(os.path.dirname(sys.executable), "moto_server")
        with open(os.path.join(folder, "moto.log"), "wb") as log:
            self.process = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        self.ready(port)

        def answers():
            try:
                urllib.request.urlopen(self.endpoint, timeout=5).close()
                return True
            except urllib.error.HTTPError:
                return True
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(f"moto_server ended at once; see {folder}/moto.log") from None
                return False
        try:
            wait_for("an answer of moto_server", answers, 60)
        except BaseException:
            self.stop()
            raise


class RgwServer(Server):
    name = "rgw"
    can = frozenset({"versioning", "strict_auth", "users", "odd_keys", "suspended_versions", "multipart", "lifecycle", "standard_ia",
                     "refused_parts"})

    @staticmethod
    def start(folder):
        """For commons.py: the gateway, which all workers share."""
        if rgw.missing():
            raise RuntimeError(f"Ceph's programs are missing ({', '.join(rgw.missing())}): scripts/deps check installs them")
        return rgw.Rgw(folder, ACCESS_KEY, SECRET_KEY)

    def __init__(self, about):
        self.conf = about["conf"]
        self.ready(about["port"])

    def refuse_parts(self, bucket):
        """By a quota of the bucket, which beginning an upload does not touch. Tells the code of the answer."""
        rgw.set_quota(self.conf, bucket, 8 << 20)
        return "QuotaExceeded"

    def add_user(self, name):
        return rgw.add_user(self.conf, name)
