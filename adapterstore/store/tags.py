"""Annotated tags: an object with a name, a date and a message, signed where that is wanted."""

from __future__ import annotations

from pygit2.enums import ObjectType

from adapterstore.identifiers import CommitId
from adapterstore.store.repository import Repository
from adapterstore.store.signing import read_signer


def write_tag(
    repository: Repository, name: str, target: CommitId, message: str, sign: bool | None = None
) -> str:
    """Write an annotated tag that no ref names yet; return the tag object's id.

    As in git, the signature is the end of the tag's own text.

    Args:
        repository: the store.
        name: the tag's short name.
        target: the commit that it names.
        message: its text.
        sign: True or False decides; None leaves it to ``tag.gpgSign``, or to what the repository
            was told.

    Raises:
        SigningFailed: it is to be signed and can't be; nothing was written.
    """
    wanted = repository.sign if sign is None else sign
    signer = read_signer(repository.git, "tag", wanted)
    tagger = repository.identity()
    hours, minutes = divmod(abs(tagger.offset), 60)
    zone = f"{'-' if tagger.offset < 0 else '+'}{hours:02}{minutes:02}"
    text = (
        f"object {target}\ntype commit\ntag {name}\n"
        f"tagger {tagger.name} <{tagger.email}> {tagger.time} {zone}\n\n{message.strip()}\n"
    ).encode()
    if signer is not None:
        text += signer.sign(text).encode()
    return str(repository.git.odb.write(ObjectType.TAG, text))
