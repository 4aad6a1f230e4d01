"""Signatures of commits and tags: made with a real key, and judged by stock git."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterstore import Store
from adapterstore.errors import SigningFailed
from adapterstore.identifiers import CommitId
from adapterstore.store.refs import move_ref
from adapterstore.store.signatures import SignatureChecker, signed_commit, signed_tag
from tests.cli.running import contents, lora_folder
from tests.signing import Key, configure, git, make_key


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return make_key(tmp_path / "keys", "ada")


@pytest.fixture
def store(tmp_path: Path, key: Key) -> Store:
    store = Store.init(tmp_path)
    configure(store.repository.folder, key)
    lora_folder(tmp_path / "a", seed=1)
    return Store.open(tmp_path)


def test_stock_git_agrees_with_a_commits_signature(store: Store, tmp_path: Path, key: Key) -> None:
    unsigned = store.resolve()
    commit = store.commit(None, tmp_path / "a", message="符号 — a message").commit
    verified = git(store.repository.folder, "verify-commit", "HEAD")
    assert verified.returncode == 0, verified.stderr
    assert f'Good "git" signature for {key.principal}' in verified.stderr
    assert git(store.repository.folder, "verify-commit", unsigned).returncode != 0

    checker = SignatureChecker(store.repository, key.allowed_signers)
    assert checker.check(signed_commit(store.repository, unsigned)).judgement == "unsigned"
    signed = signed_commit(store.repository, commit)
    checked = checker.check(signed)
    assert (checked.judgement, checked.signer) == ("good", key.principal)
    # The signature is about the commit's text: of one byte more it is bad.
    altered = type(signed)(signed.payload + b"!", signed.signature, signed.time)
    assert checker.check(altered).judgement == "bad"


def test_the_key_may_be_named_by_its_public_half(store: Store, tmp_path: Path, key: Key) -> None:
    store.repository.git.config["user.signingKey"] = f"{key.private}.pub"
    store.commit(None, tmp_path / "a")
    assert git(store.repository.folder, "verify-commit", "HEAD").returncode == 0


def test_signing_can_be_said_for_one_call(store: Store, tmp_path: Path) -> None:
    store.repository.sign = False
    commit = store.commit(None, tmp_path / "a").commit
    assert signed_commit(store.repository, commit).signature is None
    store.repository.git.config["commit.gpgSign"] = False
    store.repository.sign = True
    commit = store.revert(None, "HEAD").commit
    assert git(store.repository.folder, "verify-commit", commit).returncode == 0


def tag(store: Store, name: str, sign: bool | None = None) -> str:
    made = store.repository.write_tag(name, store.resolve(), "初版\n\nSecond paragraph.", sign)
    move_ref(store.repository, f"refs/tags/{name}", None, CommitId(made), "tag")
    return made


def test_stock_git_agrees_with_a_tags_signature(store: Store, key: Key) -> None:
    tag(store, "v1")
    verified = git(store.repository.folder, "verify-tag", "v1")
    assert verified.returncode == 0, verified.stderr
    assert key.principal in verified.stderr
    shown = git(
        store.repository.folder, "for-each-ref", "--format=%(contents:subject)", "refs/tags"
    )
    assert shown.stdout == "初版\n"
    found = store.repository.git[store.repository.git.references["refs/tags/v1"].target]
    checker = SignatureChecker(store.repository, key.allowed_signers)
    assert checker.check(signed_tag(store.repository, found)).judgement == "good"
    tag(store, "unsigned", sign=False)
    assert git(store.repository.folder, "verify-tag", "unsigned").returncode != 0
    assert store.resolve("v1") == store.resolve("unsigned") == store.resolve()


def test_stock_gits_signatures_are_read(store: Store, tmp_path: Path, key: Key) -> None:
    """A commit and a tag that git itself signed."""
    folder = store.repository.folder
    tree = git(folder, "rev-parse", "HEAD^{tree}").stdout.strip()
    made = git(folder, "commit-tree", "-S", "-p", "HEAD", "-m", "by git", tree).stdout.strip()
    git(folder, "tag", "-s", "-m", "by git", "theirs", made)
    checker = SignatureChecker(store.repository, key.allowed_signers)
    assert checker.check(signed_commit(store.repository, CommitId(made))).judgement == "good"
    found = store.repository.git[store.repository.git.references["refs/tags/theirs"].target]
    assert checker.check(signed_tag(store.repository, found)).judgement == "good"


def test_who_is_on_no_list_is_unknown(store: Store, tmp_path: Path, key: Key) -> None:
    commit = store.commit(None, tmp_path / "a").commit
    other = make_key(tmp_path / "keys", "bob")
    signed = signed_commit(store.repository, commit)
    checked = SignatureChecker(store.repository, other.allowed_signers).check(signed)
    assert checked.judgement == "unknown-signer"
    assert "ED25519 key SHA256:" in str(checked.signer)
    assert SignatureChecker(store.repository, None).check(signed).judgement == "unchecked"


def test_a_key_counts_for_the_time_that_the_list_says(
    store: Store, tmp_path: Path, key: Key
) -> None:
    commit = store.commit(None, tmp_path / "a").commit
    signed = signed_commit(store.repository, commit)
    listed = tmp_path / "listed"
    for options, judgement in (
        ('valid-before="20200101"', "unknown-signer"),
        ('valid-after="20200101"', "good"),
        ('namespaces="file"', "unknown-signer"),
    ):
        listed.write_text(f"{key.principal} {options} {key.public_text}\n")
        assert SignatureChecker(store.repository, listed).check(signed).judgement == judgement


def test_a_revoked_key_does_not_count(store: Store, tmp_path: Path, key: Key) -> None:
    commit = store.commit(None, tmp_path / "a").commit
    revoked = tmp_path / "revoked"
    revoked.write_text(f"{key.public_text}\n")
    store.repository.git.config["gpg.ssh.revocationFile"] = str(revoked)
    checker = SignatureChecker(store.repository, key.allowed_signers)
    checked = checker.check(signed_commit(store.repository, commit))
    assert checked.judgement == "unknown-signer"
    assert git(store.repository.folder, "verify-commit", commit).returncode != 0


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("user.signingKey", "{keys}/locked", "needs its passphrase.*ssh-add"),
        ("user.signingKey", "{keys}/nowhere", "No such file"),
        ("user.signingKey", "", "user.signingKey is not set"),
        ("gpg.format", "openpgp", "only ssh is supported"),
        ("gpg.ssh.program", "{keys}/no-ssh-keygen", "install OpenSSH's client"),
    ],
)
def test_what_can_not_be_signed_is_one_line_and_nothing_half_done(
    store: Store, tmp_path: Path, setting: str, value: str, message: str
) -> None:
    make_key(tmp_path / "keys", "locked", passphrase="secret")
    store.repository.git.config[setting] = value.format(keys=tmp_path / "keys")
    before = git(store.repository.folder, "for-each-ref").stdout
    with pytest.raises(SigningFailed, match=message) as raised:
        store.commit(None, tmp_path / "a")
    assert len(str(raised.value).splitlines()) == 1
    with pytest.raises(SigningFailed, match=message):
        store.repository.check_signing()
    kept = contents(store.repository.folder)
    with pytest.raises(SigningFailed, match=message):
        store.repository.write_tag("v1", store.resolve(), "one", sign=True)
    assert contents(store.repository.folder) == kept
    assert git(store.repository.folder, "for-each-ref").stdout == before


def test_a_key_in_the_agent_needs_no_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    locked = make_key(tmp_path / "keys", "locked", passphrase="secret")
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        from tests.waiting import wait_until

        wait_until(socket.exists, "the agent")
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        opened = tmp_path / "opened"
        opened.write_bytes(locked.private.read_bytes())
        opened.chmod(0o600)
        subprocess.run(
            ["ssh-keygen", "-q", "-p", "-P", "secret", "-N", "", "-f", opened],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        subprocess.run(["ssh-add", "-q", opened], check=True)
        config = store.repository.git.config
        config["gpg.ssh.allowedSignersFile"] = str(locked.allowed_signers)
        # By its text, as git takes it, and by the file that stays locked.
        for name in (f"key::{locked.public_text}", locked.public_text, str(locked.private)):
            config["user.signingKey"] = name
            commit = store.add(None, tmp_path / "a").commit
            assert git(store.repository.folder, "verify-commit", commit).returncode == 0
    finally:
        agent.terminate()
        agent.wait(30)
