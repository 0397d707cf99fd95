"""A PostgreSQL server of the test's own, from the Debian package, in a folder that is thrown away. It listens on a socket in there alone."""
import itertools
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from prosumer_tools.emulator.children import Children


def tool(name):
    found = shutil.which(name) or next((str(p) for p in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None)
    assert found, f"the PostgreSQL server is missing ({name}): apt install postgresql"
    return found


@contextmanager
def cluster(durable=False):
    """URL of a database; another of the same server is made by `create(url, name)`. The server refuses to run as root, so root lends it a user."""
    folder = Path(tempfile.mkdtemp(prefix="archive-pg-"))
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
    if as_user:
        shutil.chown(folder, user)

    def run(*command):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=folder, timeout=180, **as_user)
        assert done.returncode == 0, done.stdout + done.stderr

    run(tool("initdb"), "-D", folder / "data", "-U", "archive", "-A", "trust", "-E", "UTF8", "--no-sync")
    command = [tool("postgres"), "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", *([] if durable else ["-c", "fsync=off"])]
    with open(folder / "log", "wb") as log:  # a child that dies with the tests, however they end
        server = Children.start([str(c) for c in command], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **as_user)
    try:
        url = f"postgresql://archive@/postgres?host={folder}"
        deadline = time.monotonic() + 60
        while True:
            try:
                made = create(url, "archive")
                break
            except psycopg.OperationalError:
                assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield made
    finally:
        server.send_signal(signal.SIGQUIT)
        Children.stop(server, grace_s=5)
        shutil.rmtree(folder, ignore_errors=True)


def create(url, name):
    with psycopg.connect(url, autocommit=True) as link:
        link.execute(f"CREATE DATABASE {name}")
    return re.sub(r"@/\w+\?", f"@/{name}?", url)


@pytest.fixture(scope="session")
def postgres():
    with cluster() as url:
        yield url


_urls = itertools.count(1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path, postgres):
    """A new place for an archive, of each kind in turn."""
    return str(tmp_path / "archive.db") if request.param == "sqlite" else create(postgres, f"archive{next(_urls)}")
