"""Opening a database: address checks, SQLite's settings, and transactions whose errors are one sentence."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import URL, make_url

from db.errors import StoreError
from db.explain import explain

DEFAULT_URL = "sqlite:///palimpsest.db"
T = TypeVar("T")
BUSY_TIMEOUT = 30.0  # seconds another writer is waited for


class Database:
    """An opened database. `read` and `write` give a connection inside one transaction.

    name: the file, or the address without its password. readonly: whether `write` is refused.
    """

    def __init__(self, engine: Engine, url: URL, readonly: bool, busy_timeout: float) -> None:
        self.engine = engine
        self.name = url.database if engine.dialect.name == "sqlite" and url.database else _address(url)
        self.readonly = readonly
        self.busy_timeout = busy_timeout
        self._file = Path(url.database) if readonly and engine.dialect.name == "sqlite" and url.database else None
        self._identity = file_identity(self._file)
        # SQLAlchemy wraps the driver's errors, but not those of the settings made on connecting.
        self.errors: tuple[type[Exception], ...] = (exc.SQLAlchemyError, engine.dialect.loaded_dbapi.Error)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one consistent state. Raises StoreError."""
        with self._transaction(writes=False) as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection whose work is stored as a whole on leaving, or not at all. Raises StoreError."""
        if self.readonly:
            raise StoreError(f"{self.name} was opened read-only, so nothing can be stored in it.")
        with self._transaction(writes=True) as conn:
            yield conn

    def transact(self, work: Callable[[Connection], T]) -> T:
        """The result of `work` in a `write`; once more if it fails because another process just added the same rows."""
        try:
            with self.write() as conn:
                return work(conn)
        except StoreError as error:
            if not isinstance(error.__cause__, exc.IntegrityError):
                raise
        with self.write() as conn:
            return work(conn)

    @contextmanager
    def _transaction(self, writes: bool) -> Iterator[Connection]:
        self._follow()
        options: dict[str, Any] = {"palimpsest_writes": writes}
        if not writes and self.engine.dialect.name != "sqlite":
            options["isolation_level"] = "REPEATABLE READ"  # else each statement of a reader sees another state
        try:
            with self.engine.connect().execution_options(**options) as conn, conn.begin():
                yield conn
        except self.errors as error:
            raise explain(error, self.name, self.busy_timeout) from error

    def _follow(self) -> None:
        """Open a file that is only read anew when another one was put in its place; a read that goes on ends in the old
        one."""
        identity = file_identity(self._file)
        if identity and identity != self._identity:
            self._identity = identity
            self.engine.dispose()

    def vacuum(self) -> None:
        """Give space that is no longer used back to the disk. Raises StoreError."""
        if self.readonly:
            raise StoreError(f"{self.name} was opened read-only, so it can't be compacted.")
        try:
            if self.engine.dialect.name == "sqlite":
                _sqlite_statements(self.engine, "PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM")
                _sqlite_statements(self.engine, "PRAGMA wal_checkpoint(TRUNCATE)")
            else:
                with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
                    conn.exec_driver_sql("VACUUM")
        except self.errors as error:
            raise explain(error, self.name, self.busy_timeout) from error

    def close(self) -> None:
        """Close all connections. SQLite then merges its write-ahead log into the file."""
        self.engine.dispose()


def file_identity(path: Path | None) -> tuple[int, ...]:
    """Which file lies there now, whatever its contents; () for none."""
    try:
        status = path.stat() if path else None
    except OSError:
        return ()
    return (status.st_dev, status.st_ino) if status else ()


def connect(url: str = DEFAULT_URL, readonly: bool = False, busy_timeout: float = BUSY_TIMEOUT) -> Database:
    """Open `url` without looking at its tables.

    For writing, a missing SQLite file is created; its folder must exist. For reading, nothing is created and the
    file is not changed. Raises StoreError for an address, file, folder or server that can't be used.
    """
    parsed = _parse(url)
    options: dict[str, Any] = {"json_serializer": to_json_text}
    if parsed.get_backend_name() == "sqlite":
        target, options["connect_args"] = _sqlite_target(parsed, readonly), {"timeout": busy_timeout}
    else:
        # A server, or what lies between, may close a connection that idles while a cell runs.
        target, options["pool_pre_ping"] = parsed, True
    try:
        engine = create_engine(target, **options)
    except exc.NoSuchModuleError as error:
        raise StoreError(f"no driver speaks to '{url}'; write e.g. {DEFAULT_URL} or postgresql://host/name.") from error
    except ImportError as error:
        raise StoreError(f"'{url}' needs the Python package '{error.name}'; install it with pip.") from error
    except (exc.ArgumentError, TypeError, ValueError) as error:
        raise StoreError(_bad_address(url)) from error
    database = Database(engine, parsed, readonly, busy_timeout)
    if engine.dialect.name == "sqlite":
        _configure_sqlite(engine, readonly)
    try:
        if engine.dialect.name == "sqlite" and not readonly:
            _use_write_ahead_log(engine, busy_timeout)
        with database.read():
            pass
    except database.errors as error:
        database.close()
        raise explain(error, database.name, busy_timeout) from error
    except StoreError:
        database.close()
        raise
    return database


def to_json_text(value: Any) -> str:
    """JSON that every database takes: numbers that are not finite, as a collapsed model yields them, become null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, as files cut in the middle have it
        return json.dumps(_finite(value))
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except (exc.ArgumentError, ValueError) as error:
        raise StoreError(_bad_address(url)) from error


def _address(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _bad_address(url: str) -> str:
    hint = f"sqlite:///{url}" if "://" not in url and url else DEFAULT_URL
    return f"'{url}' is not a database address; write e.g. {hint} (three slashes before the path)."


def _sqlite_target(url: URL, readonly: bool) -> URL:
    """The address to open: `url` itself, or a read-only form of it. Checks what the file system can tell."""
    if url.host:
        raise StoreError(_bad_address(_address(url)))
    name = url.database or ""
    if name in ("", ":memory:") or name.startswith("file:"):
        return url
    path = Path(name)
    folder = path.absolute().parent
    if path.is_dir():
        raise StoreError(f"{path} is a folder, not a database; add a file name to the address.")
    if not folder.is_dir():
        raise StoreError(f"the folder {folder} for the database does not exist; create it or name another one.")
    if readonly:
        return _readonly_target(url, path, folder)
    for place in (path, folder) if path.exists() else (folder,):
        if not _writable(place):
            raise StoreError(
                f"{place} is read-only, so nothing can be stored in {path}; make it writable or name another database."
            )
    return url


def _readonly_target(url: URL, path: Path, folder: Path) -> URL:
    if not path.exists():
        raise StoreError(f"there is no database {path}; run the runner first or name another file.")
    if not os.access(path, os.R_OK):
        raise StoreError(f"{path} may not be read by you; change its permissions or name another database.")
    if _writable(path) and _writable(folder):
        # A plain connection that may not write (query_only) sees what a running writer adds and takes SQLite's
        # helper files away on closing; `mode=ro` would leave them behind.
        query = {"mode": "rw"}
    else:
        # Where nothing can be written, SQLite can't keep its helper files. Without a log the file is all there is.
        log = Path(f"{path}-wal")
        query = {"mode": "ro"} if log.exists() and log.stat().st_size else {"mode": "ro", "immutable": "1"}
    return url.set(database=f"file:{quote(str(path.absolute()))}", query=query | {"uri": "true"})


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _configure_sqlite(engine: Engine, readonly: bool) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not open transactions on its own: `on_begin` does
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=NORMAL")
        if readonly:
            connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def on_begin(conn: Connection) -> None:
        # A transaction that reads and then writes can't wait for another writer: it fails at once. One that takes
        # the write lock first waits its turn.
        writes = conn.get_execution_options().get("palimpsest_writes", False)
        conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _use_write_ahead_log(engine: Engine, busy_timeout: float) -> None:
    """Switch to write-ahead logging, which lets readers read while one process writes.

    Two processes that open a new file at once can collide here without SQLite waiting, so this repeats.
    """
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            _sqlite_statements(engine, "PRAGMA journal_mode=WAL")
            return
        except engine.dialect.loaded_dbapi.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code & 0xFF not in (5, 6) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _sqlite_statements(engine: Engine, *statements: str) -> None:
    """Run statements that SQLite refuses inside a transaction. Raises the driver's errors."""
    connection = engine.raw_connection()
    try:
        for statement in statements:
            cursor = connection.cursor()
            cursor.execute(statement).fetchall()  # type: ignore[attr-defined]
            cursor.close()
    finally:
        connection.close()
