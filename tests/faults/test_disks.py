"""Disks that are full or read-only, as real file systems of their own: one sentence, exit code 3, nothing lost."""

import shlex
import subprocess
from pathlib import Path

import pytest

from support.processes import driver_command, results


def run_in_mounts(script: str, *, timeout: float = 900.0) -> subprocess.CompletedProcess:
    """Run a shell script with mounts that nobody else sees and that end with it."""
    probe = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"mount namespaces are not allowed here: {probe.stderr.strip()}")
    return subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=timeout)


def command(folder: Path, study: Path) -> str:
    return shlex.join(driver_command(folder, study))


def assert_one_sentence(text: str, *words: str) -> None:
    lines = [line for line in text.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("error: ") and "Traceback" not in text
    assert all(word in lines[0] for word in words), lines


@pytest.mark.parametrize("kilobytes", [24, 200])
def test_full_disk_then_space(tmp_path: Path, study_file: Path, undisturbed: dict, kilobytes: int):
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"""
        mount -t tmpfs -o size={kilobytes}k none {disk} || exit 77
        {command(disk / "out", study_file)}
        test $? = 3 || exit 78
        mount -o remount,size=50m {disk} || exit 77
        {command(disk / "out", study_file)} || exit 79
        cp -r {disk}/out {tmp_path}/copy
    """
    done = run_in_mounts(script)
    if done.returncode == 77:
        pytest.skip("tmpfs cannot be mounted here")
    assert done.returncode == 0, done
    assert_one_sentence(done.stderr, str(disk))
    assert results(tmp_path / "copy") == undisturbed


def test_read_only_folder_that_is_empty(tmp_path: Path, study_file: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    done = run_in_mounts(f"mount -t tmpfs -o ro none {disk} || exit 77; {command(disk / 'out', study_file)}")
    if done.returncode == 77:
        pytest.skip("tmpfs cannot be mounted here")
    assert done.returncode == 3
    assert_one_sentence(done.stderr, str(disk), "Read-only")


def test_read_only_store_is_readable_but_refused_for_work(
    tmp_path: Path, study_file: Path, undisturbed_folder: Path, undisturbed: dict
):
    disk = tmp_path / "disk"
    disk.mkdir()
    read = (
        "import sys; from pathlib import Path; from limes.store import Store; "
        "print(len(Store.open(Path(sys.argv[1]), read_only=True).rows()))"
    )
    script = f"""
        mount -t tmpfs none {disk} || exit 77
        cp -r {undisturbed_folder} {disk}/out || exit 78
        mount -o remount,ro {disk} || exit 77
        python -c {shlex.quote(read)} {disk}/out || exit 79
        {command(disk / "out", study_file)}
    """
    done = run_in_mounts(script)
    if done.returncode == 77:
        pytest.skip("tmpfs cannot be mounted here")
    assert done.returncode == 3, done
    assert done.stdout == f"{len(undisturbed)}\n"
    assert_one_sentence(done.stderr, str(disk))
