"""Several processes that train as one: real ones, on this machine."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import yaml
from processes import history, sha, write_data
from several import ROOT, Several, flags_of, free_port, trains

import jaxnn
from jaxnn.commands import arguments
from jaxnn.devices import hosts

CLUSTER = ROOT / "examples" / "cluster"
AT = "--coordinator localhost:{} --processes 2 --process_id {}"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosts")
    write_data(folder / "data.npz")
    return folder


def alone(flags):
    """The same run in one process."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.run([sys.executable, str(ROOT / "train.py"), *flags], env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def two(base):
    """The folder of a run of two processes, 44 steps, and how they ended."""
    flags = flags_of(base / "data.npz", base / "two", 2, eval_every=11)
    return base / "two", Several(flags, 2, base / "programs").end()[0]


@pytest.mark.long
def test_two_processes_take_the_steps_of_one_and_the_first_alone_prints_and_writes(base, two):
    folder, ended = two
    assert [each.code for each in ended] == [0, 0], ended
    assert "2 devices" in ended[0].out and not ended[1].out and not ended[1].err, ended
    done = alone(flags_of(base / "data.npz", base / "one", 2, eval_every=11))
    assert done.returncode == 0, done.stderr
    ours, theirs = history(folder), history(base / "one")
    assert [row["step"] for row in ours] == [row["step"] for row in theirs] == [11, 22, 33, 44, 44]
    for a, b in zip(ours, theirs, strict=True):
        for name in (name for name in b if name.endswith("/loss")):
            np.testing.assert_allclose(a[name], b[name], rtol=1e-6, err_msg=f"{name} at step {a['step']}")


@pytest.mark.long
def test_a_run_of_two_goes_on_in_one_and_that_of_one_in_two(base, two):
    folder = base / "longer"
    shutil.copytree(two[0], folder)
    done = alone(flags_of(base / "data.npz", folder, 3, eval_every=11))
    assert done.returncode == 0 and "resumed at step 44" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_run_of_one_goes_on_in_two(base):
    folder = base / "wider"
    for count, epochs in ((1, 2), (2, 3)):
        ended, _ = Several(flags_of(base / "data.npz", folder, epochs, eval_every=11), count, base / "programs").end()
        assert [each.code for each in ended] == [0] * count, ended
    assert "resumed at step 44" in ended[0].out and history(folder)[-1]["step"] == 66


DIFFERENT = {  # what process 1 is started with besides, and what process 0 says
    "a seed": ("--seed 1", "error: --seed=1: is that of process 1, and process 0 has 0; start all with the same"),
    "data": ("--data.name {base}/other.npz", "error: data.digest="),
    "no data": ("--data.name {base}/none.npz", "error: process 1: --data.name={base}/none.npz: no such file"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", DIFFERENT)
def test_a_process_with_other_flags_or_data_is_refused_by_all(base, name):
    write_data(base / "other.npz", rows=481)
    more, said = (text.format(base=base) for text in DIFFERENT[name])
    flags, data = flags_of(base / "data.npz", base / "refused", 2), ["--data.name", str(base / "data.npz")]
    each = {0: data, 1: more.split() if "--data" in more else [*data, *more.split()]}
    ended, _ = Several(flags[2:], 2, base / "programs", each=each).end(90)
    assert [each.code for each in ended] == [2, 2] and said in ended[0].err, ended
    assert all(each.err.count("error:") == 1 for each in ended) and not (base / "refused").exists(), ended


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--coordinator localhost:1", "--coordinator=localhost:1: needs --processes and --process_id besides"),
        ("--processes 2", "--processes=2: needs --coordinator and --process_id besides"),
        ("--coordinator localhost --processes 2 --process_id 0", "--coordinator=localhost: must be HOST:PORT"),
        ("--coordinator a:70000 --processes 2 --process_id 0", "--coordinator=a:70000: must be HOST:PORT"),
        ("--coordinator a:1 --processes 0 --process_id 0", "--processes=0: must be >= 1"),
        ("--coordinator a:1 --processes 2 --process_id 2", "--process_id=2: must be 0 to 1, for --processes=2"),
        (AT.format(1, 0) + " --devices 1", "--devices=1: several processes take all that each has"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags, said):
    with pytest.raises(jaxnn.InputError, match=re.escape(said)):
        arguments.parse(["iris_mlp", *flags.split()], ROOT / "configs").flags.several()


def test_a_port_in_use_is_refused(base):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(jaxnn.InputError, match=rf"--coordinator=localhost:{port}: port {port}: Address already"):
            hosts.initialise(f"localhost:{port}", 2, 0)


@pytest.mark.long
def test_a_process_that_the_others_do_not_meet_ends_with_6():
    code = f"from jaxnn.devices import hosts; hosts.MEET = 2; hosts.initialise('localhost:{free_port()}', 2, 1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 6 and "the processes have not met within 2 s; start all" in done.stderr, done


def test_alone_nothing_is_exchanged():
    assert hosts.leads() and hosts.exchange("a") == ["a"] and hosts.greatest(3) == 3
    assert hosts.once(lambda: (1, {})) == (1, {}) and hosts.agreed({"seed": 0}) == {"seed": 0}


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_saves_all_at_one_step_and_the_run_goes_on_to_the_same_end(base, rank):
    flags = lambda folder: flags_of(base / "data.npz", folder, 40)
    ended, _ = Several(flags(base / "whole"), 2, base / "programs").end()
    assert [each.code for each in ended] == [0, 0], ended
    folder = base / f"stopped{rank}"
    run = Several(flags(folder), 2, base / "programs")
    run.until(lambda: trains(folder))
    os.kill(run.processes[rank].pid, signal.SIGTERM)
    ended, _ = run.end()
    assert [each.code for each in ended] == [143, 143], ended
    ended, _ = Several(flags(folder), 2, base / "programs").end()
    assert [each.code for each in ended] == [0, 0] and "resumed at step" in ended[0].out, ended
    assert sha(folder) == sha(base / "whole")


@pytest.mark.slow
def test_a_worker_that_is_killed_ends_the_other_with_6(base):
    folder = base / "killed"
    run = Several(flags_of(base / "data.npz", folder, 10_000), 2, base / "programs")
    run.until(lambda: trains(folder))
    run.processes[1].kill()
    ended, _ = run.end()
    assert ended[0].code == 6 and "process 1 is gone" in ended[0].err, ended


# ---- examples/cluster ------------------------------------------------------------------------------------------------


def parsed(words):
    """The command of a script, as the command line has it."""
    assert words[:2] == ["jaxnn", "train"]
    return arguments.parse(words[2:], ROOT / "configs").flags


def test_the_slurm_script_is_bash_and_its_command_is_one_of_jaxnn():
    text = (CLUSTER / "slurm.sh").read_text()
    subprocess.run(["bash", "-n", CLUSTER / "slurm.sh"], check=True)
    command = re.search(r"jaxnn train .*", text)
    assert command and parsed(command[0].split()).several()
    options = [line.partition("=")[0] for line in text.splitlines() if line.startswith("#SBATCH")]
    assert len(options) == len(set(options)) and all(re.fullmatch(r"#SBATCH --[a-z-]+", each) for each in options)


def test_the_job_set_numbers_as_many_pods_as_its_command_says():
    jobset = yaml.safe_load((CLUSTER / "jobset.yaml").read_text())
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (workers,) = jobset["spec"]["replicatedJobs"]
    job = workers["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert set(job) == {"parallelism", "completions", "completionMode", "backoffLimit", "template"}
    assert (job["completionMode"], job["backoffLimit"], pod["restartPolicy"]) == ("Indexed", 0, "Never")
    named = {env["name"] for env in container["env"]}
    for rank in range(job["completions"]):
        words = [word.replace("$(JOB_COMPLETION_INDEX)", str(rank)) for word in container["command"]]
        flags = parsed(words)
        assert flags.several() and "JOB_COMPLETION_INDEX" in named
        assert flags.processes == job["completions"] == job["parallelism"]
    name, port = jobset["metadata"]["name"], container["ports"][0]["containerPort"]
    assert flags.coordinator == f"{name}-{workers['name']}-0-0.{name}:{port}"
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


DOOR = """
from jaxnn.devices import hosts
door = hosts._open_door("localhost:1")
print("{}:{}".format(*door.getsockname()), flush=True)
input()
"""


def test_nobody_is_at_the_door_of_a_killed_process_and_somebody_at_that_of_a_stopped_one():
    with subprocess.Popen(
        [sys.executable, "-c", DOOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        address = process.stdout.readline().strip()
        for number, gone in ((signal.SIGCONT, False), (signal.SIGSTOP, False), (signal.SIGKILL, True)):
            process.send_signal(number)
            if number == signal.SIGKILL:
                process.wait()
            assert hosts._is_gone(address) == gone, number
    assert not hosts._is_gone("no such host:1")  # nothing is known then
