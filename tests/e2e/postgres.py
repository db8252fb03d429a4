"""A PostgreSQL of the tests' own: Debian's, in a temporary folder, with fsync on, ended by pid.

It listens on a port of 127.0.0.1 (with passwords) and on a Unix socket in its folder (without). The role `froe` has what
docs/fleet.md says a fleet needs, and nothing more.
"""
import contextlib
import glob
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

import rgw

PASSWORD = "fleet-test"
SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{folder}'
max_connections = 100
shared_buffers = 64MB
fsync = on
synchronous_commit = on
full_page_writes = on
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.track = top
logging_collector = off
log_line_prefix = '%m [%p] %q%a '
"""


def programs():
    """The folder of Debian's newest server programs, or None."""
    found = glob.glob("/usr/lib/postgresql/*/bin/postgres")
    if found:
        return os.path.dirname(max(found, key=lambda path: int(path.split("/")[4])))
    found = shutil.which("postgres")
    return os.path.dirname(os.path.realpath(found)) if found else None


def missing():
    """What a test that needs PostgreSQL lacks here; empty: nothing."""
    bin_folder = programs()
    if not bin_folder:
        return "PostgreSQL's server (Debian: postgresql)"
    lacking = [name for name in ("initdb", "psql") if not os.path.exists(os.path.join(bin_folder, name))]
    if lacking:
        return f"PostgreSQL's {', '.join(lacking)}"
    if os.getuid() == 0 and not unprivileged():
        return "a user `postgres` or `nobody` for a PostgreSQL server that may not run as root"
    return ""


def unprivileged():
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


class Postgres:
    def __init__(self):
        self.bin = programs()
        self.user = unprivileged() if os.getuid() == 0 else None
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="froe-postgres-"))
        self.data, self.log = self.folder / "data", self.folder / "log"
        self.process = None
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        try:
            self.log.touch()
            self._run("initdb", "-D", self.data, "-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "-E", "UTF8",
                      "--locale=C", "--no-sync")
            self.port = rgw.free_port()
            with open(self.data / "postgresql.auto.conf", "a", encoding="utf-8") as out:
                out.write(SETTINGS.format(port=self.port, folder=self.folder))
            self.start()
            self.sql(f"CREATE ROLE froe LOGIN PASSWORD '{PASSWORD}'", database="postgres")
            self.sql("CREATE DATABASE fleet", database="postgres")
            self.sql("REVOKE ALL ON DATABASE fleet FROM PUBLIC; GRANT CONNECT, CREATE ON DATABASE fleet TO froe; "
                     "CREATE EXTENSION pg_stat_statements")
            self.passfile = self.folder / "passfile"
            self.passfile.write_text(f"127.0.0.1:*:fleet:froe:{PASSWORD}\n")
            self.passfile.chmod(0o600)
        except BaseException:
            self.remove()
            raise

    def _as_user(self):
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": [], "cwd": self.folder} if self.user else {}

    def _run(self, name, *args, check=True):
        done = subprocess.run([os.path.join(self.bin, name), *map(str, args)], capture_output=True, text=True, timeout=60, check=False,
                              env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, **self._as_user())
        if check and done.returncode:
            raise RuntimeError(f"{name}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def uri(self, schema, port=None, **more):
        """For --store; the password is in the passfile."""
        query = "&".join(f"{name}={value}" for name, value in {"froe_schema": schema, "passfile": self.passfile, **more}.items())
        return f"postgres://froe@127.0.0.1:{port or self.port}/fleet?{query}"

    def sql(self, text, database="fleet"):
        """Rows as lists of texts, asked as the superuser."""
        done = self._run("psql", "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-p", self.port, "-U", "postgres",
                         "-d", database, "-c", text)
        return [line.split("\t") for line in done.stdout.splitlines()]

    def demand_tls(self, certificate, key):
        """From now on it wants TLS of all that do not come by its socket, and passwords as before."""
        for source, name in (certificate, "server.crt"), (key, "server.key"):
            shutil.copyfile(source, self.data / name)
            os.chmod(self.data / name, 0o600)
            if self.user:
                os.chown(self.data / name, self.user.pw_uid, self.user.pw_gid)
        with open(self.data / "postgresql.auto.conf", "a", encoding="utf-8") as out:
            out.write("ssl = on\n")
        (self.data / "pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
        self.stop()
        self.start()

    def answers(self):
        return self._run("psql", "-XAtq", "-h", self.folder, "-p", self.port, "-U", "postgres", "-d", "postgres", "-c", "SELECT 1",
                         check=False).returncode == 0

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([os.path.join(self.bin, "postgres"), "-D", self.data], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True, env={"LC_ALL": "C"}, **self._as_user())
        end = time.monotonic() + 60
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL does not answer: {self.log.read_text()}")
            time.sleep(0.05)

    def stop(self, mode="fast"):
        """fast: sessions are ended, what runs is rolled back. immediate: as a crash; the next start recovers."""
        self.process.send_signal({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        self.process.wait(60)
        self.process = None

    def _signal_all(self, number):
        # The postmaster first: it starts no more children that would be missed.
        os.kill(self.process.pid, number)
        children = [int(path.parent.name) for path in pathlib.Path("/proc").glob("[0-9]*/stat")
                    if parent_of(path) == self.process.pid]
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def freeze(self):
        """Nothing answers, no connection breaks: as a host that hangs."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self):
        self._signal_all(signal.SIGCONT)

    def revive(self):
        """Whatever a test left behind."""
        if self.process:
            self.thaw()
        else:
            self.start()

    def cpu_seconds(self):
        """Of all its processes that live now."""
        ticks = 0
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            if parent_of(stat) == self.process.pid:
                with contextlib.suppress(OSError):
                    ticks += sum(map(int, stat.read_text().rsplit(")", 1)[1].split()[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def statements(self):
        """How many statements were carried out so far, for all but the superuser."""
        [[calls]] = self.sql("SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements JOIN pg_roles r ON r.oid = userid "
                             "WHERE r.rolname = 'froe'")
        return int(calls)

    def counters(self):
        """(transactions, bytes of WAL) so far."""
        [[commits, rollbacks, wal]] = self.sql("SELECT xact_commit, xact_rollback, (SELECT wal_bytes FROM pg_stat_wal)::bigint "
                                               "FROM pg_stat_database WHERE datname = 'fleet'")
        return int(commits) + int(rollbacks), int(wal)

    def remove(self):
        if self.process:
            self.thaw()
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)


def parent_of(stat):
    try:
        return int(stat.read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return 0
