"""A Ceph with one monitor, one object store in memory and an S3 gateway, for tests: Debian's ceph-mon, ceph-osd, radosgw.

No manager daemon runs: pools work without one, only statistics and the like would need it. Nothing is kept but in the
folder given and in memory, and the daemons run in the foreground as our children, so their pids are known for certain.
"""
import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "ceph", "ceph-authtool", "monmaptool", "radosgw-admin")

CONFIG = """
[global]
fsid = {fsid}
mon_host = v1:127.0.0.1:{mon_port}/0
mon_initial_members = m
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr2 = false
keyring = {folder}/keyring
run_dir = {folder}
admin_socket = {folder}/$name.asok
log_file = {folder}/$name.log
pid_file =
# One copy of all in one place, and as few placement groups as will do.
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 2
osd_pool_default_pgp_num = 2
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
[mon]
mon_data = {folder}/mon
mon_data_avail_warn = 1
mon_data_avail_crit = 0
[osd]
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 3221225472
[client.admin]
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_enable_usage_log = false
rgw_enable_ops_log = false
rgw_dynamic_resharding = false
rgw_run_sync_thread = false
rgw_gc_processor_period = 3600
rgw_override_bucket_index_max_shards = 1
"""


def missing():
    return [program for program in PROGRAMS if not shutil.which(program)]


def free_port():
    """One that the kernel gives to nobody meanwhile: none of those that it takes for connections, if others are left."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first, last = map(int, file.read().split())
    ports = [port for port in range(10000, 65536) if not first <= port <= last] or range(10000, 65536)
    while True:
        port = random.choice(ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def run(*command, timeout=60):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def add_user(conf, name, access_key=None, secret_key=None):
    access_key = access_key or secrets.token_hex(8)
    secret_key = secret_key or secrets.token_hex(16)
    run("radosgw-admin", "-c", conf, "user", "create", "--uid", name, "--display-name", name, "--access-key", access_key,
        "--secret-key", secret_key, "--max-buckets", "10000")
    return access_key, secret_key


def set_quota(conf, bucket, max_bytes):
    words = ("radosgw-admin", "-c", conf, "quota")
    run(*words, "set", "--quota-scope", "bucket", "--bucket", bucket, "--max-size", str(max_bytes))
    run(*words, "enable", "--quota-scope", "bucket", "--bucket", bucket)


class Rgw:
    def __init__(self, folder, access_key, secret_key):
        self.folder = folder
        self.port = free_port()
        self.conf = os.path.join(folder, "ceph.conf")
        self.daemons = []
        for name in ("mon", "osd", "rgw"):
            os.makedirs(os.path.join(folder, name))
        mon_port = free_port()
        fsid = str(uuid.uuid4())
        with open(self.conf, "w", encoding="utf-8") as out:
            out.write(CONFIG.format(fsid=fsid, folder=folder, mon_port=mon_port, port=self.port))
        try:
            self._monitor(fsid, mon_port)
            self._object_store()
            add_user(self.conf, "test", access_key, secret_key)  # which makes what a gateway would, too: zone, pools
            self._storage_class("STANDARD_IA")
            self._gateway()
        except BaseException:
            self.stop()
            raise

    def _daemon(self, name, *command):
        log = open(os.path.join(self.folder, f"{name}.out"), "wb")
        with log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.daemons.append(process)
        return process

    def _ceph(self, *words):
        return run("ceph", "-c", self.conf, "--connect-timeout", "30", *words)

    def _keyring(self, name, *caps):
        words = [word for daemon, cap in caps for word in ("--cap", daemon, cap)]
        run("ceph-authtool", os.path.join(self.folder, "keyring"), "--gen-key", "-n", name, *words)

    def _monitor(self, fsid, mon_port):
        keyring, monmap = (os.path.join(self.folder, name) for name in ("keyring", "monmap"))
        run("ceph-authtool", "--create-keyring", keyring)
        self._keyring("mon.", ("mon", "allow *"))
        self._keyring("client.admin", ("mon", "allow *"), ("osd", "allow *"), ("mgr", "allow *"))
        self._keyring("osd.0", ("mon", "allow *"), ("osd", "allow *"))
        run("monmaptool", "--create", "--fsid", fsid, "--addv", "m", f"[v1:127.0.0.1:{mon_port}/0]", monmap)
        run("ceph-mon", "-c", self.conf, "-i", "m", "--mkfs", "--monmap", monmap, "--keyring", keyring)
        self._daemon("mon", "ceph-mon", "-c", self.conf, "-i", "m", "-f")

    def _object_store(self):
        name = str(uuid.uuid4())
        self._ceph("osd", "new", name, "0")
        run("ceph-osd", "-c", self.conf, "-i", "0", "--mkfs", "--osd-uuid", name)
        self._ceph("auth", "add", "osd.0", "-i", os.path.join(self.folder, "keyring"))
        self._ceph("osd", "crush", "add", "osd.0", "1.0", "root=default", "host=here")
        self._daemon("osd", "ceph-osd", "-c", self.conf, "-i", "0", "-f")

    def _storage_class(self, name):
        """Besides STANDARD; its objects lie where those do."""
        where = ("--placement-id", "default-placement", "--storage-class", name)
        run("radosgw-admin", "-c", self.conf, "zonegroup", "placement", "add", "--rgw-zonegroup", "default", *where)
        run("radosgw-admin", "-c", self.conf, "zone", "placement", "add", "--rgw-zone", "default", *where,
            "--data-pool", "default.rgw.buckets.data")

    def _gateway(self):
        gateway = self._daemon("gateway", "radosgw", "-c", self.conf, "-n", "client.admin", "-f")
        end = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                if gateway.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"radosgw does not answer; its log is in {self.folder}") from None
                time.sleep(0.2)

    def about(self):
        """What another process has to know of it."""
        return {"conf": self.conf, "port": self.port}

    def stop(self):
        # All is in memory: nobody needs a farewell.
        for process in reversed(self.daemons):
            process.send_signal(signal.SIGKILL)
        for process in self.daemons:
            process.wait()
        self.daemons = []
