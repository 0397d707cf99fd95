"""A PostgreSQL server of the test's own, from the Debian package, in a folder that is thrown away. It listens on a socket in there alone."""
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest


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
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=folder, timeout=60, **as_user)
        assert done.returncode == 0, done.stdout + done.stderr

    run(tool("initdb"), "-D", folder / "data", "-U", "archive", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-k {folder} -c listen_addresses=''" + ("" if durable else " -c fsync=off")
    run(tool("pg_ctl"), "-D", folder / "data", "-o", options, "-l", folder / "log", "-w", "start")
    try:
        run(tool("createdb"), "-h", folder, "-U", "archive", "archive")
        yield f"postgresql://archive@/archive?host={folder}"
    finally:
        subprocess.run([tool("pg_ctl"), "-D", str(folder / "data"), "-m", "immediate", "stop"], capture_output=True, cwd=folder, **as_user)
        shutil.rmtree(folder)


def create(url, name):
    import psycopg
    with psycopg.connect(url, autocommit=True) as link:
        link.execute(f"CREATE DATABASE {name}")
    return url.replace("/archive?", f"/{name}?")


@pytest.fixture(scope="session")
def postgres():
    with cluster() as url:
        yield url
