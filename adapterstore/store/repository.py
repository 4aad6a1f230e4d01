"""The bare git repository of a store: open, read trees, write trees and commits.

Nothing here moves a ref (see `adapterstore.store.refs`): what is written stays invisible until one
does.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import cast

import pygit2
from pygit2.enums import FileMode, ObjectType, Option, RepositoryOpenFlag

from adapterstore.errors import (
    AdapterStoreError,
    CorruptStore,
    NotAStore,
    StoreExists,
    UnreadableFile,
    UnsupportedFormat,
)
from adapterstore.identifiers import CommitId
from adapterstore.progress import NO_PROGRESS, Progress
from adapterstore.store import locks
from adapterstore.store.durable import fsync_file, fsync_folder, put_file
from adapterstore.store.messages import check_message
from adapterstore.store.objects import ObjectStore
from adapterstore.store.refusals import git_writing
from adapterstore.store.signing import read_signer

FOLDER_NAME = ".adapterstore"
FORMAT = 1
_FALLBACK_AUTHOR = ("adapterstore", "adapterstore@localhost")

_BAD_CONFIG = re.compile(r"failed to parse config file: (.*) \(in (.*?):?(\d*)\)")

Change = bytes | pygit2.Oid | None
"""New content of a path: a file's bytes, an existing tree or blob, or None to remove it."""


@contextmanager
def intact(where: str) -> Iterator[None]:
    """Tell of an object that git can't read by its place: libgit2 reads most when they are used.

    Raises:
        CorruptStore: an object is missing or damaged.
    """
    try:
        yield
    except (pygit2.GitError, KeyError) as error:
        raise CorruptStore(where, f"git can't read an object ({error})") from error


def open_git(folder: Path) -> pygit2.Repository:
    """Open the git repository that is this very folder: libgit2 would go on to those above it."""
    flags = RepositoryOpenFlag.NO_SEARCH | RepositoryOpenFlag.NO_DOTGIT
    return pygit2.Repository(str(folder), flags)


_PUSH_HOOK = "hooks/pre-push"
_PUSH_WITH_LFS = '#!/bin/sh\ngit lfs pre-push "$@"\n'
"""Without it, git pushes commits and leaves their tensor files behind. ``git lfs install`` knows
these lines as its own, and puts the newer ones of its release in their place."""


def _put_push_hook(store: Path) -> None:
    """Write the hook if there is none; whole, as another process may do the same."""
    hook = store / _PUSH_HOOK
    if hook.exists():
        return
    hook.parent.mkdir(exist_ok=True)
    draft = hook.with_name(f"pre-push-{uuid.uuid4().hex}")
    try:
        put_file(draft, _PUSH_WITH_LFS.encode())
        draft.chmod(0o755)
        with suppress(FileExistsError):
            os.link(draft, hook)
    finally:
        draft.unlink(missing_ok=True)


def _init_git(folder: Path) -> pygit2.Repository:
    try:
        with git_writing(folder.parent):
            git = pygit2.init_repository(str(folder), bare=True, initial_head="main")
            git.config["core.logAllRefUpdates"] = "always"
            git.config["adapterstore.format"] = FORMAT
            return git
    except pygit2.GitError as error:
        raise OSError(f"{folder}: {error}") from error


def _why_not_open(folder: Path, error: Exception) -> AdapterStoreError:
    if "not owned by" in str(error):
        trust = f"git config --global --add safe.directory {folder}"
        return UnreadableFile(str(folder), f"belongs to another user; if you trust it: {trust}")
    config = _BAD_CONFIG.search(str(error))
    if config is not None and folder not in Path(config[2]).parents:
        return UnreadableFile(f"{config[2]}:{config[3]}", f"git can't read it ({config[1]})")
    if {"objects", "refs", "lfs"} & {path.name for path in folder.iterdir()}:
        return CorruptStore(str(folder), f"git can't open it ({error})")
    return NotAStore(str(folder), f"not a git repository ({error})")


class Repository:
    """One store's git repository and its tensor files."""

    def __init__(self, folder: Path):
        """Open the store in ``folder`` (the ``.adapterstore`` folder itself).

        Raises:
            NotAStore: the folder is not a bare git repository.
            UnreadableFile: it belongs to another user, whom git does not trust either; or git's own
                settings of this machine can't be read.
            CorruptStore: it was one, and git can't open it any more.
            OSError: no permission.
            UnsupportedFormat: a newer release wrote it.
        """
        # Before any ref names it, an object has to be on disk (git's core.fsync).
        pygit2.option(Option.ENABLE_FSYNC_GITDIR, True)
        try:
            self.git = open_git(folder)
        except (pygit2.GitError, KeyError) as error:
            raise _why_not_open(folder, error) from error
        if not self.git.is_bare:
            if "core.bare" not in self.git.config:
                raise CorruptStore(str(folder), "its config does not say that it is bare")
            raise NotAStore(str(folder), "a git work tree, not a bare repository")
        self.folder = folder
        self.objects = ObjectStore(folder / "lfs")
        self.sign: bool | None = None
        """Whether commits and tags are signed; None leaves it to git's configuration."""
        self.waiting: Progress = NO_PROGRESS
        """Told of a wait for another process; what it raises ends the wait."""
        self._alone: int | None = None
        """The thread that keeps all others away."""
        self._check_format()
        name, email = self._author()
        self.git.set_ident(name, email)

    def _check_format(self) -> None:
        config = self.git.config
        found = str(FORMAT)
        if "adapterstore.format" in config:
            found = str(config["adapterstore.format"])
        if not found.isdecimal() or int(found) > FORMAT:
            raise UnsupportedFormat(str(self.folder), found, FORMAT)

    def _author(self) -> tuple[str, str]:
        try:
            signature = self.git.default_signature
        except (KeyError, ValueError, pygit2.GitError):
            # No name in git's settings, or none that a commit can have.
            return _FALLBACK_AUTHOR
        return signature.name, signature.email

    @classmethod
    def create(cls, parent: Path, fill: Callable[[Repository], None]) -> Repository:
        """Make a repository ``parent/.adapterstore``, all of it or nothing.

        ``fill`` writes the first commit; the repository gets its name after that.

        Raises:
            StoreExists: there is one.
            UnreadableFile: a file is in the way.
        """
        # A store outlives the folder that its process stood in.
        parent = parent.resolve()
        target = parent / FOLDER_NAME
        if target.exists():
            raise StoreExists(str(target))
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UnreadableFile(str(parent), "a file is in the way; name a folder") from error
        # Made aside and renamed: a kill half way leaves no half-made store.
        draft = parent / f"{FOLDER_NAME}-{uuid.uuid4().hex}"
        try:
            _init_git(draft)
            (draft / "lfs" / "objects").mkdir(parents=True)
            (draft / "lfs" / "tmp").mkdir()
            _put_push_hook(draft)
            fill(cls(draft))
            for name in ("HEAD", "config", _PUSH_HOOK):  # libgit2 does not, whatever it is told
                fsync_file(draft / name)
            for folder, _, _ in os.walk(draft):
                fsync_folder(Path(folder))
            try:
                draft.rename(target)
            except OSError as error:
                if target.exists():
                    raise StoreExists(str(target)) from error
                raise
            fsync_folder(parent)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return cls(target)

    @classmethod
    def discover(cls, start: Path) -> Repository:
        """Open the store of a folder: its own, or that of the nearest folder above.

        Raises:
            NotAStore: there is none.
        """
        start = start.resolve()
        if (start / "HEAD").is_file() and (start / "lfs").is_dir():
            return cls(start)
        for folder in (start, *start.parents):
            if (folder / FOLDER_NAME).is_dir():
                return cls(folder / FOLDER_NAME)
        raise NotAStore(str(start))

    @contextmanager
    def trial(self) -> Iterator[Repository]:
        """Give a view of the store whose new tensor files go to a folder that is then removed.

        For work that may come to nothing; git objects are few bytes and are left for ``gc``.
        """
        with self.objects.scratch() as folder:
            view = copy.copy(self)
            view.objects = ObjectStore(folder, behind=self.objects)
            yield view

    def check_there(self) -> None:
        """Raise `NotAStore` if somebody has removed the store since it was opened."""
        if not self.folder.is_dir():
            raise NotAStore(str(self.folder), "is not there any more")

    # --- reading ---------------------------------------------------------------------------------

    def commit(self, commit_id: CommitId) -> pygit2.Commit:
        """Return a commit; raise `CorruptStore` if it is not there."""
        try:
            found = self.git.get(commit_id)
        except (pygit2.GitError, ValueError) as error:
            raise CorruptStore(f"commit {commit_id}", str(error)) from error
        if not isinstance(found, pygit2.Commit):
            raise CorruptStore(f"commit {commit_id}", "is not here")
        return found

    def parents(self, commit_id: CommitId) -> list[CommitId]:
        """Return the ids of a commit's parents."""
        return [CommitId(str(parent)) for parent in self.commit(commit_id).parent_ids]

    def tree(self, commit_id: CommitId, path: str = "") -> pygit2.Tree | None:
        """Return the folder at ``path`` of a commit (None: no such folder)."""
        found = self._entry(commit_id, path) if path else self._root(commit_id)
        return found if isinstance(found, pygit2.Tree) else None

    def read(self, commit_id: CommitId, path: str) -> bytes | None:
        """Return the bytes of the file at ``path`` of a commit (None: no such file)."""
        found = self._entry(commit_id, path)
        with intact(f"commit {commit_id}: {path}"):
            return found.data if isinstance(found, pygit2.Blob) else None

    def read_required(self, commit_id: CommitId, path: str) -> bytes:
        """Return the bytes of a file that every commit has; raise `CorruptStore` without it."""
        data = self.read(commit_id, path)
        if data is None:
            raise CorruptStore(commit_id, f"the commit has no {path}")
        return data

    def files(self, commit_id: CommitId, path: str) -> dict[str, pygit2.Oid]:
        """Return every file under a folder of a commit: full path → blob id."""
        tree = self.tree(commit_id, path)
        with intact(f"commit {commit_id}: {path}"):
            return dict(_walk(tree, path)) if tree is not None else {}

    def blob(self, blob_id: pygit2.Oid | str) -> bytes:
        """Return a blob's bytes; raise `CorruptStore` if it is not there."""
        with intact(f"blob {blob_id}"):
            found = self.git.get(blob_id)
            if not isinstance(found, pygit2.Blob):
                raise CorruptStore(str(blob_id), "no such blob")
            return found.data

    def folder_at(self, tree_id: str) -> pygit2.Tree | None:
        """Return a folder by its own id (None: no such folder)."""
        with intact(f"tree {tree_id}"):
            found = self.git.get(tree_id)
        return found if isinstance(found, pygit2.Tree) else None

    def _root(self, commit_id: CommitId) -> pygit2.Tree:
        with intact(f"commit {commit_id}"):
            return self.commit(commit_id).tree

    def _entry(self, commit_id: CommitId, path: str) -> pygit2.Object | None:
        found: pygit2.Object = self._root(commit_id)
        # Step by step: a folder that is named and gone is not a path that was never there.
        for name in path.split("/"):
            with intact(f"commit {commit_id}: {path}"):
                if not isinstance(found, pygit2.Tree) or name not in found:
                    return None
                found = found[name]
        return found

    # --- writing ---------------------------------------------------------------------------------

    def writing(self) -> AbstractContextManager[None]:
        """Keep `gc` away until the block ends; see `adapterstore.store.locks`.

        Whoever makes a commit holds this from the first object that it writes, or finds there and
        relies on, until the ref has moved.
        """
        self.check_there()
        with suppress(OSError):
            # A clone has none, and what is written here may be pushed from here.
            _put_push_hook(self.folder)
        return nullcontext() if self._is_alone() else locks.writing(self.folder, self.waiting)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keep all writers of this store away until the block ends, but for its own thread's.

        Raises:
            StoreBusy: one is at work.
        """
        if self._is_alone():
            yield
            return
        with locks.collecting(self.folder, self.waiting):
            self._alone = threading.get_ident()
            try:
                yield
            finally:
                self._alone = None
                # libgit2 remembers objects that it has read, whatever became of their files.
                self.git.free()

    def _is_alone(self) -> bool:
        return self._alone == threading.get_ident()

    def write_tree(self, base: pygit2.Tree | None, changes: Mapping[str, Change]) -> pygit2.Oid:
        """Write a tree: ``base`` with ``changes`` (path → content); cost follows the changes.

        Raises:
            CorruptStore: an object that stays, or that was there already, is damaged.
            OSError: the disk is full, or there is no permission to write.
        """
        largest = max((len(c) for c in changes.values() if isinstance(c, bytes)), default=0)
        with intact("the tree to be written"), git_writing(self._git_objects, largest):
            return self._write_tree(base, changes)

    def _write_tree(self, base: pygit2.Tree | None, changes: Mapping[str, Change]) -> pygit2.Oid:
        builder = self.git.TreeBuilder(base) if base is not None else self.git.TreeBuilder()
        below: dict[str, dict[str, Change]] = {}
        for path, change in changes.items():
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = change
            elif change is None:
                if builder.get(name) is not None:
                    builder.remove(name)
            elif isinstance(change, bytes):
                builder.insert(name, self.git.create_blob(change), FileMode.BLOB)
            else:
                is_tree = isinstance(self.git[change], pygit2.Tree)
                builder.insert(name, change, FileMode.TREE if is_tree else FileMode.BLOB)
        for name, inner in below.items():
            entry = builder.get(name)
            folder = cast(pygit2.Tree, self.git[self._write_tree(_as_tree(entry), inner)])
            if len(folder):
                builder.insert(name, folder.id, FileMode.TREE)
            elif builder.get(name) is not None:
                builder.remove(name)
        return builder.write()

    def write_commit(self, tree: pygit2.Oid, parents: list[CommitId], message: str) -> CommitId:
        """Write a commit that no ref names yet; signed if that is wanted.

        Raises:
            SigningFailed: it is to be signed and can't be; no commit was written.
            CorruptStore: its tree or a parent is not here.
            OSError: as `write_object`.
        """
        author = self.identity()
        above: list[str | pygit2.Oid] = [pygit2.Oid(hex=parent) for parent in parents]
        signer = read_signer(self.git, "commit", self.sign)
        with intact("the commit to be written"):
            # pygit2's own annotation says Oid; its documentation and its value say str.
            text = str(self.git.create_commit_string(author, author, message, tree, above))
        if signer is None:
            # Not create_commit: on a full disk it gives the id of a commit that it has not written.
            return CommitId(self.write_object(ObjectType.COMMIT, text.encode()))
        with git_writing(self._git_objects):
            signed = self.git.create_commit_with_signature(text, signer.sign(text.encode()))
        return CommitId(str(signed))

    def write_object(self, kind: ObjectType, data: bytes) -> str:
        """Write a git object by its bytes; return its id.

        Raises:
            CorruptStore: it was there already, and is damaged.
            OSError: the disk is full, or there is no permission to write.
        """
        what = f"the {kind.name.lower()} to be written"
        with intact(what), git_writing(self._git_objects, len(data)):
            return str(self.git.odb.write(kind, data))

    @property
    def _git_objects(self) -> Path:
        return self.folder / "objects"

    def write_tag(self, name: str, target: CommitId, message: str, sign: bool | None = None) -> str:
        """Write an annotated tag that no ref names yet; return the tag object's id.

        As in git, a signature is the end of the tag's own text.

        Args:
            name: the tag's short name.
            target: the commit that it names.
            message: its text.
            sign: True or False decides; None leaves it to what the repository was told, and then
                to git's ``tag.gpgSign``.

        Raises:
            SigningFailed: it is to be signed and can't be; nothing was written.
            OSError: as `write_object`.
        """
        check_message(message)
        signer = read_signer(self.git, "tag", self.sign if sign is None else sign)
        tagger = self.identity()
        hours, minutes = divmod(abs(tagger.offset), 60)
        zone = f"{'-' if tagger.offset < 0 else '+'}{hours:02}{minutes:02}"
        text = (
            f"object {target}\ntype commit\ntag {name}\n"
            f"tagger {tagger.name} <{tagger.email}> {tagger.time} {zone}\n\n{message.strip()}\n"
        ).encode(errors="replace")
        if signer is not None:
            text += signer.sign(text).encode()
        return self.write_object(ObjectType.TAG, text)

    def identity(self) -> pygit2.Signature:
        """Return who writes now: git's user.name and user.email, and the time."""
        return pygit2.Signature(*self._author())

    def check_signing(self) -> None:
        """Sign a text of no meaning, so that hours of work do not end at a key that is locked.

        Raises:
            SigningFailed: commits are to be signed and can't be.
        """
        signer = read_signer(self.git, "commit", self.sign)
        if signer is not None:
            signer.sign(b"adapterstore asks whether this key can sign\n")


def _as_tree(entry: pygit2.Object | None) -> pygit2.Tree | None:
    return entry if isinstance(entry, pygit2.Tree) else None


def _walk(tree: pygit2.Tree, prefix: str) -> Iterator[tuple[str, pygit2.Oid]]:
    for entry in tree:
        path = f"{prefix}/{entry.name}"
        if isinstance(entry, pygit2.Tree):
            yield from _walk(entry, path)
        else:
            yield path, entry.id
