"""The S3 client's operations for results, against each server, seen with boto3's eyes; and the fake's with boto3 as its client."""
import contextlib
import json
import pathlib
import re
import signal
import socket
import subprocess
import threading

import boto3.s3.transfer
import botocore.exceptions
import pytest
from servers import wait_for

PART = 5 * 1024 * 1024
LARGE = 2 * PART + 12345


def body(size):
    period = bytes(i * 7 % 251 for i in range(251))
    return (period * (size // 251 + 1))[:size]


class Store:
    """The program s3_store, on a server."""

    def __init__(self, program, server):
        self.program, self.server = program, server

    def begin(self, *words, endpoint=None):
        env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **self.server.env()}
        if endpoint:
            env["AWS_ENDPOINT_URL"] = endpoint
        return subprocess.Popen([self.program, *map(str, words)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def __call__(self, *words, endpoint=None):
        with self.begin(*words, endpoint=endpoint) as process:
            try:
                out, err = process.communicate(timeout=120)
            finally:
                process.kill()
        return out.decode().strip(), err.decode()


def store_on(request, server):
    return Store(pathlib.Path(request.config.getoption("--build")).resolve() / "tests/unit/s3/s3_store", server)


@pytest.fixture
def store(request, server):
    return store_on(request, server)


@pytest.fixture
def fake_store(request, fake):
    return store_on(request, fake)


def tags_of(server, bucket, key):
    found = server.s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    return {tag["Key"]: tag["Value"] for tag in found}


@pytest.mark.parametrize("size", [0, 10, 100000, LARGE])
@pytest.mark.needs("multipart")
def test_a_stored_body_is_there_whole(server, store, prefix, size):
    server.make_bucket(prefix + "a")
    answer, text = store("put", prefix + "a", "k/ü+ %", size, PART, "t=1%202&u=")
    head = server.s3.head_object(Bucket=prefix + "a", Key="k/ü+ %")
    assert answer == f"ok {head['ETag']}", text
    assert server.body(prefix + "a", "k/ü+ %") == body(size)
    assert (head["ContentType"], head["Metadata"]) == ("a/b", {"m": "n"})
    assert head["ETag"].endswith('-3"') == (size == LARGE)
    assert tags_of(server, prefix + "a", "k/ü+ %") == {"t": "1 2", "u": ""}
    assert not server.s3.list_multipart_uploads(Bucket=prefix + "a").get("Uploads")


@pytest.mark.needs("multipart")
def test_a_copy_takes_metadata_and_tags_with_it(server, store, prefix):
    server.make_bucket(prefix + "a")
    server.make_bucket(prefix + "b")
    etag = server.s3.put_object(Bucket=prefix + "a", Key="k/ü+ %?", Body=b"hello", ContentType="c/d", Metadata={"x": "y"},
                                Tagging="t=1")["ETag"]
    answer, text = store("copy", prefix + "a", "k/ü+ %?", prefix + "b", "to ü", etag)
    head = server.s3.head_object(Bucket=prefix + "b", Key="to ü")
    assert answer == f"ok {head['ETag']}", text
    assert (head["ContentType"], head["Metadata"]) == ("c/d", {"x": "y"})
    assert server.body(prefix + "b", "to ü") == b"hello"
    assert tags_of(server, prefix + "b", "to ü") == {"t": "1"}
    assert store("copy", prefix + "a", "gone", prefix + "b", "other")[0] == "no such key"
    answer, text = store("copy", prefix + "a", "k/ü+ %?", prefix + "b", "other", '"00000000000000000000000000000000"')
    assert answer == "precondition failed", text
    assert server.keys(prefix + "b") == ["to ü"]


@pytest.mark.needs("multipart")
def test_a_copy_of_what_came_in_parts_is_of_that_very_object(server, store, prefix):
    """Its copy may have another ETag; and servers that do not know the condition must not matter."""
    bucket = prefix + "a"
    server.make_bucket(bucket)
    etag = store("put", bucket, "k", LARGE, PART)[0].split()[1]
    answer, text = store("copy", bucket, "k", bucket, "copy", etag)
    assert answer == f"ok {server.s3.head_object(Bucket=bucket, Key='copy')['ETag']}", text
    assert server.body(bucket, "copy") == body(LARGE)
    server.s3.put_object(Bucket=bucket, Key="k", Body=b"another")
    assert store("copy", bucket, "k", bucket, "other", etag)[0] == "precondition failed"
    assert server.keys(bucket) == ["copy", "k"]


@pytest.mark.needs("multipart")
def test_a_copy_in_parts(server, store, prefix):
    """What a move does with more than 5 GiB, here with less: no test's server has room for so much."""
    bucket, to = prefix + "a", prefix + "b"
    server.make_bucket(bucket)
    server.make_bucket(to)
    etag = server.s3.put_object(Bucket=bucket, Key="k/ü+ ?", Body=body(LARGE), ContentType="c/d", CacheControl="no-store",
                                Metadata={"x": "y"}, Tagging="t=1%202&u=")["ETag"]
    answer, text = store("copy-in-parts", bucket, "k/ü+ ?", to, "to ü", LARGE, PART, etag)
    assert answer.startswith("ok "), text
    head = server.s3.head_object(Bucket=to, Key="to ü")
    assert answer == f"ok {head['ETag']}" and head["ETag"].endswith('-3"'), text
    assert (head["ContentType"], head["CacheControl"], head["Metadata"]) == ("c/d", "no-store", {"x": "y"})
    assert server.body(to, "to ü") == body(LARGE)
    assert tags_of(server, to, "to ü") == {"t": "1 2", "u": ""}
    for wrong in (['"00000000000000000000000000000000"'], [etag]):
        answer, text = store("copy-in-parts", bucket, "k/ü+ ?", to, "other", LARGE, PART, *wrong)
        assert answer == "precondition failed", text
        server.s3.put_object(Bucket=bucket, Key="k/ü+ ?", Body=body(LARGE + 1))
    for name in ("a%20b", "a?versionId=null"):  # Ceph would copy others in their place
        for key in ("a b", "a", name):
            server.s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        answer, text = store("copy-in-parts", bucket, name, to, "other", len(name), 2)
        assert answer == "not supported" and "may take a name with a '%'" in text, text
    assert server.keys(to) == ["to ü"]
    assert not server.s3.list_multipart_uploads(Bucket=to).get("Uploads")


@pytest.mark.needs("multipart", "versioning")
def test_tags_of_what_came_in_parts_are_its_versions(server, store, prefix):
    bucket = prefix + "a"
    server.make_bucket(bucket, "Enabled")
    for n in (1, 2):
        answer, text = store("put", bucket, "k", PART + n, PART, f"n={n}")
        assert answer.startswith("ok "), text
    versions = server.s3.list_object_versions(Bucket=bucket)["Versions"]
    found = {version["Size"]: server.s3.get_object_tagging(Bucket=bucket, Key="k", VersionId=version["VersionId"])["TagSet"]
             for version in versions}
    assert found == {PART + n: [{"Key": "n", "Value": str(n)}] for n in (1, 2)}


@pytest.mark.needs("multipart")
def test_tags_are_put_and_got(server, store, prefix):
    server.make_bucket(prefix + "a")
    server.s3.put_object(Bucket=prefix + "a", Key="k", Body=b"")
    assert store("get-tags", prefix + "a", "k")[0] == "ok"
    answer, text = store("put-tags", prefix + "a", "k", "name 1", "a+b=c", "ü", "")
    assert answer == "ok", text
    assert tags_of(server, prefix + "a", "k") == {"name 1": "a+b=c", "ü": ""}
    assert sorted(store("get-tags", prefix + "a", "k")[0].split(" ", 1)[1].replace("name 1", "name1").split()) == ["name1=a+b=c", "ü="]


def test_a_bucket_in_another_region_is_found(fake, fake_store, prefix):
    here, there = prefix + "here", prefix + "there"
    fake.make_bucket(here)
    fake.make_bucket(there, region="eu-west-1")
    elsewhere = fake.client(region="eu-west-1")
    for key, size in (("small", 100000), ("large", LARGE)):
        answer, text = fake_store("put", there, key, size, PART, "t=1")
        assert answer.startswith("ok "), text
        assert elsewhere.get_object(Bucket=there, Key=key)["Body"].read() == body(size)
        assert fake_store("get-tags", there, key)[0] == "ok t=1"
    etag = fake.s3.put_object(Bucket=here, Key="k", Body=b"hello")["ETag"]
    assert fake_store("copy", here, "k", there, "copy", etag)[0] == f"ok {etag}"
    assert fake_store("put-tags", there, "copy", "a", "b")[0] == "ok"
    assert elsewhere.get_object_tagging(Bucket=there, Key="copy")["TagSet"] == [{"Key": "a", "Value": "b"}]


def read_head(connection):
    """The head, and what came with it of the body."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(65536)
    head, _, rest = got.partition(b"\r\n\r\n")
    return head, rest


def read_body(connection, head, rest):
    missing = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(rest)
    while missing > 0:
        piece = connection.recv(1 << 20)
        rest += piece
        missing -= len(piece)
    return rest


def test_a_redirect_that_comes_before_the_body_loses_none_of_it(fake_store):
    """Servers answer from the head alone, and leave most of the body unread.

    This one closes only when the client came back: an earlier close would reset the connection, and that may overtake the answer."""
    elsewhere, there = [], []

    def serve(listener):
        with contextlib.ExitStack() as connections:
            while not there:
                connection = connections.enter_context(listener.accept()[0])
                head = read_head(connection)
                if b"/eu-west-1/s3/" in head[0]:
                    there.append(read_body(connection, *head))
                    connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n')
                else:
                    elsewhere.append(head[0])
                    connection.sendall(b"HTTP/1.1 307 x\r\nx-amz-bucket-region: eu-west-1\r\nConnection: close\r\n"
                                       b"Content-Length: 0\r\n\r\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener], daemon=True)
        thread.start()
        answer, text = fake_store("put", "bucket", "key", LARGE, 2 * LARGE, endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert answer == 'ok "e"', text
        thread.join(60)
    assert len(elsewhere) == 1 and b"/us-east-1/s3/" in elsewhere[0]
    assert there == [body(LARGE)]


def parts_of_uploads(server, bucket):
    uploads = server.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return sum(len(server.s3.list_parts(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]).get("Parts", []))
               for upload in uploads)


@pytest.mark.needs("strict_auth")  # the fake and Ceph
def test_what_a_killed_upload_leaves_is_seen_by_nobody(server, store, prefix, patience):
    """docs/output.md, "In a bucket": its parts stay, and the next attempt has an upload of its own."""
    bucket, faults = prefix + "a", "faults" in server.can
    server.make_bucket(bucket)
    if faults:
        server.misbehave(f"latency op=upload-part bucket={bucket} ms=60000 after-n=1")
    with store.begin("put", bucket, "k", LARGE if faults else 40 * PART, PART) as killed:
        wait_for("its first part", lambda: parts_of_uploads(server, bucket), 60 * patience)
        killed.kill()
        assert killed.wait() == -signal.SIGKILL
    if faults:
        server.behave()
    assert server.keys(bucket) == []
    assert store("put", bucket, "k", LARGE, PART)[0].startswith("ok ")
    assert server.body(bucket, "k") == body(LARGE)
    left = server.s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [upload["Key"] for upload in left] == ["k"]
    server.s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=left[0]["UploadId"])
    assert server.body(bucket, "k") == body(LARGE)


@pytest.mark.needs("lifecycle")
def test_the_rule_that_the_page_gives_is_one(server, prefix):
    page = (pathlib.Path(__file__).parents[2] / "docs/output.md").read_text(encoding="utf-8")
    rules = json.loads(re.search(r"--lifecycle-configuration '(.*?)'", page, re.DOTALL)[1])
    server.make_bucket(prefix + "a")
    server.s3.put_bucket_lifecycle_configuration(Bucket=prefix + "a", LifecycleConfiguration=rules)
    rule, = server.s3.get_bucket_lifecycle_configuration(Bucket=prefix + "a")["Rules"]
    assert rule["Status"] == "Enabled" and rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


def refused(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"]


def test_boto3_uploads_in_parts_to_the_fake(fake, prefix):
    others = fake.stats()["uploads"]  # of tests that end in the midst of one
    fake.make_bucket(prefix + "a")
    config = boto3.s3.transfer.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, use_threads=False)
    source = fake.log + ".body"
    pathlib.Path(source).write_bytes(body(LARGE))
    fake.s3.upload_file(source, prefix + "a", "k", Config=config, ExtraArgs={"StorageClass": "STANDARD_IA", "Tagging": "a=b",
                                                                            "ChecksumAlgorithm": "SHA256"})
    assert fake.body(prefix + "a", "k") == body(LARGE)
    head = fake.s3.head_object(Bucket=prefix + "a", Key="k", ChecksumMode="ENABLED")
    assert head["StorageClass"] == "STANDARD_IA" and head["ETag"].endswith('-3"') and head["ChecksumSHA256"].endswith("-3")
    fake.s3.copy({"Bucket": prefix + "a", "Key": "k"}, prefix + "a", "copy", Config=config)
    assert fake.body(prefix + "a", "copy") == body(LARGE)
    assert fake.stats()["uploads"] == others


def test_the_fake_is_strict_with_parts(fake, prefix):
    s3, bucket = fake.s3, prefix + "a"
    fake.make_bucket(bucket)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    name = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    etags = [s3.upload_part(**name, PartNumber=n, Body=b"small")["ETag"] for n in (1, 2)]
    first, second = ({"PartNumber": n + 1, "ETag": etag} for n, etag in enumerate(etags))
    assert [part["PartNumber"] for part in s3.list_parts(**name)["Parts"]] == [1, 2]
    assert [item["UploadId"] for item in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload]

    def completed(*parts):
        return refused(s3.complete_multipart_upload, **name, MultipartUpload={"Parts": list(parts)})
    assert completed(first, second) == "EntityTooSmall"
    assert completed(second, first) == "InvalidPartOrder"
    assert completed({"PartNumber": 3, "ETag": etags[0]}) == "InvalidPart"
    assert completed({"PartNumber": 1, "ETag": '"00000000000000000000000000000000"'}) == "InvalidPart"
    assert refused(s3.upload_part, **name, PartNumber=10001, Body=b"") == "InvalidArgument"
    assert refused(s3.head_object, Bucket=bucket, Key="k") == "404"
    s3.complete_multipart_upload(**name, MultipartUpload={"Parts": [second]})
    assert fake.body(bucket, "k") == b"small"
    assert completed(second) == "NoSuchUpload"
    assert refused(s3.abort_multipart_upload, **name) == "NoSuchUpload"
    assert refused(s3.upload_part, **name, PartNumber=1, Body=b"") == "NoSuchUpload"


def test_the_fake_is_strict_with_copies_and_tags(fake, prefix):
    s3, bucket = fake.s3, prefix + "a"
    fake.make_bucket(bucket)
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"a": "b"})["ETag"]
    here = {"Bucket": bucket, "Key": "k2", "CopySource": {"Bucket": bucket, "Key": "k"}}
    assert refused(s3.copy_object, **here, CopySourceIfMatch='"other"') == "PreconditionFailed"
    assert refused(s3.copy_object, **here, CopySourceIfNoneMatch=etag) == "PreconditionFailed"
    assert refused(s3.copy_object, **{**here, "Key": "k"}) == "InvalidRequest"
    assert refused(s3.copy_object, **{**here, "CopySource": {"Bucket": bucket, "Key": "gone"}}) == "NoSuchKey"
    s3.copy_object(**here, MetadataDirective="REPLACE", Metadata={"c": "d"}, TaggingDirective="REPLACE", Tagging="t=1",
                   CopySourceIfMatch=etag)
    head = s3.head_object(Bucket=bucket, Key="k2")
    assert head["Metadata"] == {"c": "d"}
    assert head["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"] == "1"

    def tagged(*tags):
        return refused(s3.put_object_tagging, Bucket=bucket, Key="k",
                       Tagging={"TagSet": [{"Key": name, "Value": value} for name, value in tags]})
    assert tagged(*((str(n), "") for n in range(11))) == "BadRequest"
    assert tagged(("a", "1"), ("a", "2")) == "InvalidTag"
    assert tagged(("n" * 129, "")) == "InvalidTag"
    assert tagged(("n", "v" * 257)) == "InvalidTag"
    assert tagged(("a<b", "")) == "InvalidTag"
    assert tags_of(fake, bucket, "k") == {}
    s3.delete_object_tagging(Bucket=bucket, Key="k2")
    assert tags_of(fake, bucket, "k2") == {}
