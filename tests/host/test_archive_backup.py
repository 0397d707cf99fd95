"""An archive's backup: made while it runs, restored into an empty place, never mixed with what stands there."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from postgres_kit import create, postgres, url  # noqa: F401 (fixtures)
from prosumer_tools.archive import answers
from prosumer_tools.archive.check import check
from prosumer_tools.archive.database import Database, DatabaseError, restore
from prosumer_tools.archive.fill import fill
from prosumer_tools.archive.sources import Kept
from prosumer_tools.archive.store import Archive
from test_archive_store import filled, main


def test_backup_while_it_runs_and_restore(url, tmp_path, postgres, capsys):
    archive, street, feeder = filled(url, 6)
    assert main("backup", url, tmp_path / "copy") == 0
    for _ in range(3):
        archive.take(feeder, *street.block())
    place = create(postgres, "restored") if archive.db.postgres else tmp_path / "restored.db"
    assert main("restore", place, tmp_path / "copy") == 0, capsys.readouterr().err
    back = Archive(Database(place))
    assert back.chain(feeder).height == 6 and check(back, feeder).ok
    assert fill(back, feeder, [Kept(archive)]).joined.total() == 3 and back.chain(feeder).tip == street.tip
    if not archive.db.postgres:
        with pytest.raises(DatabaseError, match="exists"):
            restore(tmp_path / "copy", place)
    assert main("backup", url, tmp_path / "no" / "folder") == 2


def test_a_backup_is_not_mixed_with_what_a_lost_file_left_beside_it(tmp_path):
    """The log of the lost file holds pages that are newer than the backup's."""
    archive, street, feeder = filled(tmp_path / "a.db", 4)
    archive.db.backup(tmp_path / "copy")
    for _ in range(20):
        archive.take(feeder, *street.block())
    archive.db.do("PRAGMA wal_checkpoint(RESTART)")
    archive.take(feeder, *street.block())
    place = tmp_path / "lost.db"
    for end in ("-wal", "-shm"):
        shutil.copy(tmp_path / f"a.db{end}", f"{place}{end}")
    log = (tmp_path / "lost.db-wal").read_bytes()
    restore(tmp_path / "copy", place)
    back = Archive(Database(place))
    assert back.chain(feeder).height == 4 and check(back, feeder).ok
    assert (tmp_path / "lost.db-wal.old").read_bytes() == log, "who wants to mend the lost file needs it"


def test_a_lost_file_that_a_program_still_has_open_is_not_replaced(tmp_path):
    archive, street, feeder = filled(tmp_path / "a.db", 3)
    archive.db.backup(tmp_path / "copy")
    archive.db.close()
    script = "import sys; from prosumer_tools.archive.database import Database; d = Database(sys.argv[1]); print(flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "a.db")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    (tmp_path / "a.db").unlink()
    with pytest.raises(DatabaseError, match="in use"):
        restore(tmp_path / "copy", tmp_path / "a.db")
    assert not (tmp_path / "a.db").exists()
    child.communicate()
    restore(tmp_path / "copy", tmp_path / "a.db")
    assert check(Archive(Database(tmp_path / "a.db")), feeder).ok


def test_a_restored_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    archive, street, feeder = filled(tmp_path / "a.db", 3)
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("rename"), replace(a, b)))
    archive.db.backup(tmp_path / "copy")
    assert done == ["copy.part", "rename", tmp_path.name]
    done.clear()
    restore(tmp_path / "copy", tmp_path / "b.db")
    assert done == [tmp_path.name, "b.db.part", "rename", tmp_path.name]


def test_a_backup_does_not_go_into_a_living_database(postgres, tmp_path):
    url = create(postgres, "living")
    archive, street, feeder = filled(url, 3)
    token = answers.new_token(archive, feeder, 1)
    archive.db.backup(tmp_path / "copy")
    archive.db.do("DELETE FROM tokens")
    with pytest.raises(DatabaseError, match="is not empty"):
        restore(tmp_path / "copy", url)
    assert answers.asker(archive, feeder, token) is None, "revoked for good"
    (tmp_path / "half").write_bytes((tmp_path / "copy").read_bytes()[:-400])
    place = create(postgres, "half")
    with pytest.raises(DatabaseError, match="pg_restore"):
        restore(tmp_path / "half", place)
    restore(tmp_path / "copy", place)  # nothing of the half is there


def test_the_password_is_in_no_programs_arguments(postgres, tmp_path, monkeypatch):
    def secret(url):
        return url.replace("archive@", "archive:s%40cret@")
    archive, street, feeder = filled(secret(create(postgres, "source")), 3)
    ran, run_program = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda args, **how: (ran.append((args, how["env"]["PGPASSWORD"])), run_program(args, **how))[1])
    archive.db.backup(tmp_path / "copy")
    restore(tmp_path / "copy", secret(create(postgres, "target")))
    assert [Path(args[0]).name for args, _ in ran] == ["pg_dump", "pg_restore"]
    assert all("cret" not in " ".join(args) and password == "s@cret" for args, password in ran)
