from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest

import mnist_lab as lab
from mnist_lab import provenance
from mnist_lab.provenance import GitState, git_state
from mnist_lab.tracking import Store, open_store

CODE = "zero = 0\none = 1\ntwo = 2\n"


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clean checkout with one commit, whose folder `package` this package was imported from."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "checkout"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "code.py").write_text(CODE)
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    monkeypatch.setattr(provenance, "__file__", str(folder / "package" / "code.py"))
    return folder


@pytest.fixture
def state() -> Iterator[Callable[[], GitState]]:
    """The state of the checkout now, not when this process asked for it first."""

    def read() -> GitState:
        git_state.cache_clear()
        return git_state()

    yield read
    git_state.cache_clear()


def head(folder: Path) -> str:
    return git(folder, "rev-parse", "HEAD").strip()


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_clean_tree_is_told_from_a_changed_one(
    checkout: Path, state: Callable[[], GitState]
) -> None:
    before = files(checkout)
    assert state() == GitState(head(checkout), "")
    assert state().dirty == "false"
    (checkout / "new.toml").write_text("trials = 3\n")
    assert state().dirty == "true"
    assert "+trials = 3" in state().diff
    # The checkout is as it was; not even an object is added to it.
    assert files(checkout) == {**before, checkout / "new.toml": b"trials = 3\n"}


def test_a_change_in_the_second_of_a_commit_is_seen(
    checkout: Path, state: Callable[[], GitState]
) -> None:
    # Git knows a file by its size and by its time in whole seconds: here, both are as committed.
    time.sleep(1 - time.time() % 1)
    (checkout / "package" / "code.py").write_text(CODE.replace("= 1", "= 2"))
    git(checkout, "commit", "--all", "-m", "second")
    (checkout / "package" / "code.py").write_text(CODE.replace("= 1", "= 3"))
    time.sleep(1)
    assert "+one = 3" in state().diff


def test_no_checkout_and_no_git_are_nothing_to_tell_of(
    tmp_path: Path, checkout: Path, state: Callable[[], GitState], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        assert state() == GitState("", "")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "code.py"))
    monkeypatch.chdir(tmp_path)
    assert state() == GitState("", "")
    assert state().dirty == ""


def test_another_users_checkout_is_read_if_the_code_is_from_it(
    tmp_path: Path, checkout: Path, state: Callable[[], GitState], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = head(checkout)
    (checkout / "package" / "code.py").write_text(CODE.replace("= 1", "= 2"))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "true")
    with pytest.raises(subprocess.CalledProcessError):
        head(checkout)
    assert (state().commit, state().problem) == (commit, "")
    assert "+one = 2" in state().diff

    # Else git's refusal holds, and is on record: its configuration may run what it likes.
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "code.py"))
    monkeypatch.chdir(checkout)
    assert (state().commit, state().diff, state().dirty) == ("", "", "unknown")
    assert "git log: fatal: detected dubious ownership" in state().problem


def test_a_repository_within_does_not_hide_other_untracked_files(
    checkout: Path, state: Callable[[], GitState]
) -> None:
    nested = checkout / "nested"
    nested.mkdir()
    git(nested, "init")
    (nested / "file").write_text("")
    assert (state().commit, state().dirty) == (head(checkout), "unknown")
    assert "'nested/' does not have a commit checked out" in state().problem
    (checkout / "a.toml").write_text("trials = 3\n")
    (checkout / "z.toml").write_text("trials = 4\n")
    assert state().dirty == "true"
    assert "+trials = 3" in state().diff
    assert "+trials = 4" in state().diff
    assert "'nested/' does not have a commit checked out" in state().problem


def no_commit(folder: Path) -> None:
    git(folder, "checkout", "--orphan", "another")


def no_head(folder: Path) -> None:
    (folder / ".git" / "HEAD").write_text("nonsense\n")


def no_index(folder: Path) -> None:
    (folder / ".git" / "index").write_text("nonsense\n")


def no_objects(folder: Path) -> None:
    (folder / "package" / "code.py").write_text(CODE.replace("= 1", "= 2"))
    blob = git(folder, "rev-parse", "HEAD:package/code.py").strip()
    (folder / ".git" / "objects" / blob[:2] / blob[2:]).unlink()


@pytest.mark.parametrize(
    ("damage", "knows_commit", "said"),
    [
        (no_commit, False, "does not have any commits yet"),
        (no_head, False, "not a git repository"),
        (no_index, True, "index"),
        (no_objects, True, "unable to read"),
    ],
)
def test_a_git_that_cannot_tell_is_no_clean_tree(
    checkout: Path,
    state: Callable[[], GitState],
    damage: Callable[[Path], None],
    knows_commit: bool,
    said: str,
) -> None:
    commit = head(checkout)
    damage(checkout)
    assert state().commit == (commit if knows_commit else "")
    assert (state().diff, state().dirty) == ("", "unknown")
    assert said in state().problem


def test_the_patch_makes_the_tree_whatever_git_is_set_to(
    tmp_path: Path, checkout: Path, state: Callable[[], GitState]
) -> None:
    (checkout / ".gitattributes").write_text("*.bin diff=hex\n*.py diff=shown\n")
    (checkout / "old.bin").write_bytes(b"\x00\x01")
    (checkout / "gone.bin").write_bytes(b"\x00\x02")
    git(checkout, "add", ".")
    git(checkout, "commit", "-m", "second")
    shutil.copytree(checkout, tmp_path / "copy")
    for key, value in {
        "color.ui": "always",
        "color.diff": "always",
        "core.quotePath": "false",
        "diff.noprefix": "true",
        "diff.context": "0",
        "diff.external": "echo external",
        "diff.hex.textconv": "wc -c <",
        "diff.shown.command": "echo command",
    }.items():
        git(checkout, "config", key, value)
    (checkout / "package" / "code.py").write_text(CODE.replace("= 1", "= 2"))
    (checkout / "old.bin").write_bytes(b"\x00\xff\xfe")
    (checkout / "gone.bin").unlink()
    (checkout / "new.bin").write_bytes(bytes(range(256)))
    (checkout / os.fsdecode(b"gr\xf6\xdfe.toml")).write_text("größe = 3\n")  # in Latin-1

    assert state().problem == ""
    assert "\x1b" not in state().diff
    (tmp_path / "git_diff.patch").write_text(state().diff, encoding="utf-8")
    git(tmp_path / "copy", "apply", str(tmp_path / "git_diff.patch"))
    trees = [
        {path.relative_to(root): content for path, content in files(root).items()}
        for root in (checkout, tmp_path / "copy")
    ]
    own, applied = ({k: v for k, v in tree.items() if k.parts[0] != ".git"} for tree in trees)
    assert applied == own


def test_large_binary_files_are_only_named(
    checkout: Path, state: Callable[[], GitState], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "_MOST_BINARY", 1_000)
    (checkout / "a.bin").write_bytes(bytes(600))
    assert "GIT binary patch" in state().diff
    (checkout / "b.bin").write_bytes(bytes(600))
    (checkout / "new.toml").write_text("trials = 3\n")
    assert "GIT binary patch" not in state().diff
    assert "Binary files /dev/null and b/b.bin differ" in state().diff
    assert "+trials = 3" in state().diff


@pytest.mark.parametrize(
    ("found", "tags"),
    [
        (GitState("", ""), {}),
        (GitState("5ha1", ""), {"git_commit": "5ha1", "git_dirty": "false"}),
        (GitState("5ha1", "+one"), {"git_commit": "5ha1", "git_dirty": "true"}),
        (
            GitState("5ha1", "+one", "fatal: no"),
            {"git_commit": "5ha1", "git_dirty": "true", "git_problem": "fatal: no"},
        ),
        (
            GitState("5ha1", "", "fatal: no"),
            {"git_commit": "5ha1", "git_dirty": "unknown", "git_problem": "fatal: no"},
        ),
        (GitState("", "", "fatal: no"), {"git_dirty": "unknown", "git_problem": "fatal: no"}),
    ],
)
def test_what_git_says_is_recorded_and_what_it_does_not_say_is_not_guessed(
    workspace: Path,
    small: lab.Dataset,
    monkeypatch: pytest.MonkeyPatch,
    found: GitState,
    tags: dict[str, str],
) -> None:
    monkeypatch.setattr(provenance, "git_state", lambda: found)
    store = open_store()
    with store.run(store.experiment("test"), "run", tags={"kind": "training"}) as run:
        run.log_start(lab.RunConfig(), 0, 1, small, None)
    client = mlflow.MlflowClient()
    recorded = client.get_run(run.id).data.tags
    assert {key: value for key, value in recorded.items() if key.startswith("git_")} == tags
    assert recorded.get("mlflow.source.git.commit") == tags.get("git_commit")
    patches = [file.path for file in client.list_artifacts(run.id) if file.path.endswith(".patch")]
    assert patches == (["git_diff.patch"] if found.diff else [])


def test_a_dirty_tree_is_recorded_with_its_untracked_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "a.py").write_text("one = 1\n")
    git("add", "a.py")
    git("commit", "-m", "first")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "a.py"))
    provenance.git_state.cache_clear()
    clean = provenance.git_state()
    assert len(clean.commit) == 40
    assert clean.diff == ""
    (tmp_path / "a.py").write_text("one = 2\n")
    (tmp_path / "new.toml").write_text("trials = 3\n")
    provenance.git_state.cache_clear()
    dirty = provenance.git_state()
    provenance.git_state.cache_clear()
    assert "+one = 2" in dirty.diff
    assert "+trials = 3" in dirty.diff
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert status.stdout == " M a.py\n?? new.toml\n"  # the index is as it was


def test_a_large_file_that_git_does_not_know_is_named_and_not_copied(
    checkout: Path, state: Callable[[], GitState]
) -> None:
    (checkout / "small.txt").write_text("some text\n")
    (checkout / "large one.csv").write_text("0,1,2\n" * 200_000)
    found = state()
    assert "+some text" in found.diff
    assert "Untracked, too large for a patch: large one.csv (1,200,000 bytes)" in found.diff
    assert len(found.diff) < 1_000
    (checkout / "small.txt").unlink()
    assert state().dirty == "true"
    # What is there of a patch can be applied.
    (checkout.parent / "patch").write_text(found.diff)
    git(checkout, "apply", str(checkout.parent / "patch"))
    assert (checkout / "small.txt").read_text() == "some text\n"


def test_what_the_commands_leave_behind_and_an_environment_are_no_part_of_a_patch(
    checkout: Path, state: Callable[[], GitState], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(checkout / "env"))
    monkeypatch.chdir(checkout)
    left = ("mlruns/1/a/x.json", "mlflow.db", "unsent/1/record.json", "studies/my.db", "r.db-wal")
    for name in (*left, "env/lib/a.py"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("a line\n")
    assert state().dirty == "false"
    (checkout / ".gitignore").write_text("env\nmlflow.db\n")  # some of it, as here
    git(checkout, "add", ".gitignore")
    git(checkout, "commit", "-m", "ignores")
    assert state() == GitState(head(checkout), "")
    (checkout / ".gitignore").write_text("")
    git(checkout, "commit", "--all", "-m", "ignores nothing")
    (checkout / "mine.py").write_text("mine\n")
    (checkout / "package" / "mlruns").mkdir()
    (checkout / "package" / "mlruns" / "code.py").write_text("of the user\n")
    (checkout.parent / "linked").symlink_to(checkout)
    monkeypatch.setattr(sys, "prefix", str(checkout.parent / "linked" / "env"))
    assert "a line" not in state().diff
    monkeypatch.setattr(sys, "prefix", str(checkout.parent))  # the checkout is in an environment
    assert "+mine" in state().diff
    assert "+of the user" in state().diff
    assert state().diff.count("a line") == 1  # that of env/, which is none now


def test_untracked_files_are_bounded_in_all(checkout: Path, state: Callable[[], GitState]) -> None:
    for number in range(30):
        (checkout / f"{number}.txt").write_text(f"{number:09}\n" * 90_000)  # 900 kB each
    found = state()
    assert 4e6 < len(found.diff) < 6e6
    assert found.diff.count("Untracked, too large for a patch") == 20
    assert "and 5 more" in found.diff


def test_files_that_git_is_told_not_to_show_stay_private(
    checkout: Path, state: Callable[[], GitState]
) -> None:
    git(checkout, "config", "status.showUntrackedFiles", "no")
    (checkout / "secret.pem").write_text("a key\n")
    assert state() == GitState(head(checkout), "")
    (checkout / "package" / "new.py").write_text("unknown = True\n")
    assert state().diff == ""
    assert state().dirty == "unknown"
    assert state().problem == "1 untracked file(s) of the code: status.showUntrackedFiles is no"
    (checkout / "package" / "code.py").write_text("changed = True\n")
    assert "a key" not in state().diff
    assert "+changed" in state().diff


def test_another_checkout_in_the_environment_is_not_taken_for_the_codes(
    checkout: Path, state: Callable[[], GitState], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init")
    git(other, "commit", "--allow-empty", "-m", "another")
    known = head(checkout)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert (state().commit, state().diff) == (known, "")
    monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
    (checkout / "large.txt").write_text("a line\n" * 200_000)
    (checkout / "new.txt").write_text("another\n")
    assert "+another" in state().diff
    assert state().problem == ""


def test_a_patch_of_files_that_are_no_utf_8_can_be_applied(
    checkout: Path, state: Callable[[], GitState], tmp_path: Path, store: Store
) -> None:
    latin = checkout / "package" / "latin.py"
    latin.write_bytes(b"# caf\xe9\nlast = 1\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-m", "latin")
    latin.write_bytes(b"# caf\xe9\nlast = 2\n")
    with store.run(store.experiment("e"), "run", tags={}) as run:
        run.log_text("git_diff.patch", state().diff)
    patch = mlflow.MlflowClient().download_artifacts(run.id, "git_diff.patch", str(tmp_path))
    git(checkout, "checkout", "--", ".")
    git(checkout, "apply", patch)
    assert latin.read_bytes() == b"# caf\xe9\nlast = 2\n"


def test_changes_within_a_submodule_are_said_to_be_missing(
    checkout: Path, state: Callable[[], GitState], tmp_path: Path
) -> None:
    module = tmp_path / "module"
    module.mkdir()
    git(module, "init")
    (module / "a.py").write_text("one\n")
    git(module, "add", ".")
    git(module, "commit", "-m", "first")
    git(checkout, "-c", "protocol.file.allow=always", "submodule", "add", str(module), "sub")
    git(checkout, "commit", "-m", "with a submodule")
    git(checkout, "config", "diff.submodule", "log")
    assert state().dirty == "false"
    (checkout / "sub" / "a.py").write_text("two\n")
    assert state().problem == "1 submodule(s) have changes of their own"


def test_code_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("mnist_lab", "nowhere"))
    assert provenance.environment()["version.nowhere"] == "unknown"
