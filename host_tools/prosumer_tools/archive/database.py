"""One database, SQLite (a file) or PostgreSQL (a URL), behind the few statements that both understand.

    sqlite   PATH, sqlite:///PATH or :memory:        postgresql   postgresql://user:password@host/name
"""
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from pathlib import Path

VERSION = "4"
SAME_BLOCKS = ("2", "3")  # versions whose blocks can be brought into a new archive; 2 had fewer columns in its entries, 3 none of the sender and no votes
_IN_USE_BYTE = 128  # of the -shm file: each connection has a lock on it (SQLite, os_unix.c: UNIX_SHM_DMS)

# BLOB is BYTEA in PostgreSQL. Numbers of the ledger fit 64 bits, signed.
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS feeders (feeder BLOB PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS genesis (feeder BLOB, number BIGINT, record BLOB NOT NULL, PRIMARY KEY (feeder, number));
CREATE TABLE IF NOT EXISTS blocks (feeder BLOB, height BIGINT, slot BIGINT NOT NULL, hash BLOB NOT NULL, proposal BLOB NOT NULL,
    certificate BLOB NOT NULL, state BLOB NOT NULL, PRIMARY KEY (feeder, height), UNIQUE (feeder, slot));
CREATE TABLE IF NOT EXISTS nodes (feeder BLOB, level BIGINT, place BIGINT, hash BLOB NOT NULL, PRIMARY KEY (feeder, level, place));
CREATE TABLE IF NOT EXISTS readings (feeder BLOB, member BIGINT, slot BIGINT, height BIGINT NOT NULL, import_mwh BIGINT NOT NULL,
    export_mwh BIGINT NOT NULL, generation_mwh BIGINT NOT NULL, uncertainty_mwh BIGINT NOT NULL, flags BIGINT NOT NULL,
    accuracy BIGINT NOT NULL, PRIMARY KEY (feeder, member, slot));
CREATE TABLE IF NOT EXISTS trades (feeder BLOB, member BIGINT, slot BIGINT, height BIGINT NOT NULL, price_ucr_per_kwh BIGINT NOT NULL,
    bought_mwh BIGINT NOT NULL, sold_mwh BIGINT NOT NULL, PRIMARY KEY (feeder, member, slot));
CREATE TABLE IF NOT EXISTS entries (feeder BLOB, height BIGINT, place BIGINT, member BIGINT NOT NULL, slot BIGINT NOT NULL, kind TEXT NOT NULL,
    trade_ucr BIGINT NOT NULL, loss_ucr BIGINT NOT NULL, fee_ucr BIGINT NOT NULL, imbalance_ucr BIGINT NOT NULL,
    penalty_ucr BIGINT NOT NULL, share_ucr BIGINT NOT NULL, payment_ucr BIGINT NOT NULL, PRIMARY KEY (feeder, height, place));
CREATE TABLE IF NOT EXISTS coins (feeder BLOB, height BIGINT, place BIGINT, member BIGINT NOT NULL, slot BIGINT NOT NULL, kind TEXT NOT NULL,
    other BIGINT NOT NULL, amount BIGINT NOT NULL, note TEXT NOT NULL, PRIMARY KEY (feeder, height, place));
CREATE TABLE IF NOT EXISTS evidence (feeder BLOB, height BIGINT, member BIGINT NOT NULL, record BLOB NOT NULL, PRIMARY KEY (feeder, height));
CREATE TABLE IF NOT EXISTS waiting (feeder BLOB, hash BLOB, slot BIGINT NOT NULL, previous BLOB NOT NULL, proposal BLOB NOT NULL,
    certificate BLOB NOT NULL, sender BIGINT NOT NULL, PRIMARY KEY (feeder, hash));
CREATE TABLE IF NOT EXISTS votes (feeder BLOB, iteration BIGINT, hash BLOB, domain BLOB, member BIGINT, signature BLOB NOT NULL,
    PRIMARY KEY (feeder, iteration, hash, domain, member));
CREATE TABLE IF NOT EXISTS tokens (digest BLOB PRIMARY KEY, feeder BLOB NOT NULL, member BIGINT NOT NULL);
CREATE INDEX IF NOT EXISTS blocks_hash ON blocks (feeder, hash);
CREATE INDEX IF NOT EXISTS readings_slot ON readings (feeder, slot);
CREATE INDEX IF NOT EXISTS trades_slot ON trades (feeder, slot);
CREATE INDEX IF NOT EXISTS entries_member ON entries (feeder, member, slot);
CREATE INDEX IF NOT EXISTS coins_member ON coins (feeder, member, slot);
"""
TABLES = ("meta", "feeders", "genesis", "blocks", "nodes", "readings", "trades", "entries", "coins", "evidence", "waiting", "votes", "tokens")


class DatabaseError(RuntimeError):
    """It cannot be opened, is no archive, or is broken; one line that says which."""


def errors():
    """What the databases in use raise."""
    psycopg = sys.modules.get("psycopg")
    return (sqlite3.Error, psycopg.Error) if psycopg else (sqlite3.Error,)


class Database:
    """`all(sql, …)` → rows as tuples; `do(sql, …)`; `with transaction():` all or nothing. Safe to use from several threads.

    A connection that a server lost is made anew by the next statement; what was in a transaction then fails, and nothing of it is kept."""

    def __init__(self, url, create=True, readable=()):
        """`create`: False when the archive must be there, None to leave the tables alone; `readable`: other versions to take as they are.

        What is no archive is refused and stays as it is."""
        self.url = str(url)
        self.lock = threading.RLock()
        self.depth = 0
        self.postgres = self.url.startswith(("postgresql://", "postgres://"))
        if self.postgres:
            self._open_postgres()
        else:
            self._open_sqlite(create)
        if create is None:
            return
        try:
            if not create and self.postgres and "meta" not in self._tables():
                raise DatabaseError(f"there is no archive in {self.shown()}")
            with self.transaction():
                for statement in SCHEMA.split(";")[:-1]:
                    self.do(statement.replace("BLOB", "BYTEA") if self.postgres else statement)
                self.do("INSERT INTO meta VALUES ('version', ?) ON CONFLICT DO NOTHING", VERSION)
                version = self.one("SELECT value FROM meta WHERE name = 'version'")[0]
        except self.errors as error:
            raise self._failed(error) from None
        if version not in (VERSION, *readable):
            how = "; bring it into a new one: prosumer archive import NEW OLD" if version in SAME_BLOCKS else ""
            raise DatabaseError(f"{self.shown()} is an archive of version {version}; this program reads version {VERSION}{how}")

    def _open_sqlite(self, create):
        path = self.url.removeprefix("sqlite:///").removeprefix("sqlite:")
        self.path = path
        self.errors = (sqlite3.Error,)
        self.conflicts = (sqlite3.IntegrityError,)
        if not create and path != ":memory:" and not Path(path).is_file():
            raise DatabaseError(f"there is no archive at {path}")
        size = os.path.getsize(path) if os.path.exists(path) else 0
        if size == 1 or not size and not create and path != ":memory:":  # SQLite takes a single byte for an empty file, and writes over it
            raise DatabaseError(f"{path} is no archive: it is {'not a database' if size else 'empty'}")
        try:
            self.link = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            found = self._tables()  # before anything is written
            if "meta" not in found and (found or size and not create):
                raise DatabaseError(f"{path} is no archive: it is a database of something else")
            self.link.execute("PRAGMA journal_mode = WAL")
            self.link.execute("PRAGMA synchronous = FULL")  # a block is acknowledged to the broker only when it is on the disk
        except sqlite3.Error as error:
            raise DatabaseError(f"{path}: {error}") from None

    def _open_postgres(self):
        psycopg = _psycopg()
        self.errors, self.conflicts = (psycopg.Error,), (psycopg.IntegrityError,)
        self._connect = lambda: psycopg.connect(self.url, autocommit=True, connect_timeout=10)
        try:
            self.link = self._connect()
        except psycopg.Error as error:
            raise self._failed(error) from None

    def _tables(self):
        """Names of the tables that are there."""
        where = ("pg_tables WHERE schemaname = ANY (current_schemas(false))", "tablename") if self.postgres else ("sqlite_master WHERE type = 'table'", "name")
        return {name for name, in self.all(f"SELECT {where[1]} FROM {where[0]}")}

    def shown(self):
        """The URL without a password."""
        head, at, tail = self.url.rpartition("@")
        return f"{head.rpartition(':')[0]}@{tail}" if at and head.count(":") > 1 else self.url

    def _failed(self, error):
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return DatabaseError(f"{self.shown()}: {lines[0]}")

    def _lost(self):
        return self.postgres and self.link.broken

    def do(self, sql, *values):
        sql = sql.replace("?", "%s") if self.postgres else sql
        with self.lock:
            try:
                return self.link.execute(sql, values)
            except self.errors:
                if not self._lost() or self.depth and sql != "BEGIN":
                    raise
                self.link = self._connect()
                return self.link.execute(sql, values)

    def many(self, sql, rows):
        with self.lock:
            if not rows:
                return
            if not self.postgres:
                self.link.executemany(sql, rows)
            else:
                with self.link.cursor() as cursor:
                    cursor.executemany(sql.replace("?", "%s"), rows)

    def all(self, sql, *values):
        with self.lock:
            return self.do(sql, *values).fetchall()

    def one(self, sql, *values):
        with self.lock:
            return self.do(sql, *values).fetchone()

    @contextmanager
    def transaction(self):
        with self.lock:
            self.depth += 1
            try:
                if self.depth == 1:
                    self.do("BEGIN")
                yield
            except BaseException:
                if self.depth == 1 and not self._lost():
                    self.do("ROLLBACK")
                raise
            else:
                if self.depth == 1:
                    self.do("COMMIT")
            finally:
                self.depth -= 1

    def close(self):
        with self.lock:
            self.link.close()

    # -- safekeeping

    def backup(self, out):
        """A copy of a running archive: an SQLite file, or what pg_restore reads. Written beside and renamed when whole."""
        out = Path(out)
        part = out.with_name(out.name + ".part")
        try:
            if self.postgres:
                _tool("pg_dump", self.url, "--format=custom", f"--file={part}")
            else:
                part.unlink(missing_ok=True)
                copy = sqlite3.connect(part)
                with self.lock:
                    self.link.backup(copy, pages=256)
                copy.close()
            _rename(part, out)
        except (OSError, sqlite3.Error) as error:
            raise DatabaseError(f"no backup in {out}: {error}") from None

    def integrity(self):
        """What the database itself finds broken in its file: lines."""
        try:
            if self.postgres:
                return []  # a page that is not as it was written raises when it is read
            return [row[0] for row in self.all("PRAGMA integrity_check") if row[0] != "ok"]
        except self.errors as error:
            return [str(error)]


def _psycopg():
    try:
        import psycopg.conninfo
    except ImportError:
        raise DatabaseError("PostgreSQL needs the package psycopg: pip install 'psycopg[binary]'") from None
    return psycopg


def _tool(name, url, *args):
    """Run pg_dump or pg_restore on a database. Everybody sees a program's arguments: the password goes with its environment."""
    path = shutil.which(name) or next(iter(sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None)
    if not path:
        raise DatabaseError(f"{name} is missing: apt install postgresql-client")
    conninfo = _psycopg().conninfo
    named = conninfo.conninfo_to_dict(url)
    password = named.pop("password", None)
    done = subprocess.run([str(path), f"--dbname={conninfo.make_conninfo(**named)}", *args], capture_output=True, text=True, check=False,
                          env=os.environ | ({"PGPASSWORD": password} if password else {}))
    if done.returncode:
        raise DatabaseError(f"{name}: {(done.stderr.strip().splitlines() or ['failed'])[0]}")


def restore(backup, url):
    """Bring a backup back into an empty place; DatabaseError when it is not empty or in use.

    What an earlier SQLite file left beside it (-wal: its newest blocks) is moved to …-wal.old: it would be replayed onto the restored one."""
    url = str(url)
    if url.startswith(("postgresql://", "postgres://")):
        with closing(Database(url, create=None)) as place:
            if place.one("SELECT 1 FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') LIMIT 1"):
                raise DatabaseError(f"{place.shown()} is not empty; a backup is restored into a new database (createdb), not over a living one")
        _tool("pg_restore", url, "--no-owner", "--single-transaction", "--exit-on-error", str(backup))
        return
    path = Path(url.removeprefix("sqlite:///").removeprefix("sqlite:"))
    if path.exists():
        raise DatabaseError(f"{path} exists; a backup is restored beside it, not over it")
    part = path.with_name(path.name + ".part")
    try:
        shutil.copyfile(backup, part)
        _move_away(path)
        _rename(part, path)
    except OSError as error:
        raise DatabaseError(f"{backup}: {error.strerror}") from None


def _move_away(path):
    """Whatever a lost SQLite file left beside its place; DatabaseError when somebody still works on it."""
    shm = Path(f"{path}-shm")
    if shm.exists():
        with open(shm, "r+b") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _IN_USE_BYTE)
            except OSError:
                raise DatabaseError(f"{path} is in use: stop the program that still has the lost file open") from None
        shm.unlink()
    for left in (Path(f"{path}-wal"), Path(f"{path}-journal")):
        if left.exists():
            os.replace(left, f"{left}.old")
    _sync(path.parent)


def _rename(part, place):
    """Give a file its name when its bytes are on the disk; after a cut the name holds too."""
    _sync(part)
    os.replace(part, place)
    _sync(place.parent)


def _sync(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
