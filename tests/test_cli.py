"""The command line: one normal form, overrides in order, help, and what the programs refuse."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import train as train_program
from configs import resnet_warmup
from warmup_jax import cli, config_files
from warmup_jax.schedules import __main__ as schedules_program

ROOT = Path(__file__).parent.parent
CONFIG = "configs/resnet_warmup.py:smoke"
OPTIONS = {"workdir": train_program.WORKDIR}


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(cli.app, "run", lambda main, argv: main(argv))  # absl's would change the logging of all tests


def parse(*argv):
    return cli.parse(argv, "About.", OPTIONS)


def changed(*argv):
    """The config that a command line asks for, as a nested dict."""
    return parse(f"--config={CONFIG}", *argv).config.to_dict()


@pytest.mark.parametrize(
    "argv",
    [
        ["--config=A", "--config.a=1", "--workdir=B", "--config.b=-1"],
        ["--config", "A", "--config.a", "1", "--workdir", "B", "--config.b", "-1"],
        ["-config=A", "-config.a=1", "-workdir", "B", "-config.b", "-1"],
        ["-config", "A", "--config.a", "1", "-workdir=B", "--config.b=-1"],
    ],
)
def test_arguments_have_one_normal_form(argv):
    assert cli.normal_form(argv) == [("config", "A"), ("config.a", "1"), ("workdir", "B"), ("config.b", "-1")]


def test_a_value_that_looks_like_nothing_else():
    argv = ["--config.a=", "--config.b==c=d", "--config.c", "(0, 10)", "--config.d", "-1e-3", "--config.e", "--help"]
    expected = [("config.a", ""), ("config.b", "=c=d"), ("config.c", "(0, 10)"), ("config.d", "-1e-3")]
    assert cli.normal_form(argv) == [*expected, ("config.e", None), ("help", "true")]


@pytest.mark.parametrize("argv", [["stray"], ["--config=A", "stray"], ["--help", "stray"], ["--"], ["-"], [""]])
def test_an_argument_without_a_name_is_refused(argv):
    with pytest.raises(ValueError, match=f"unknown argument '{argv[-1]}'"):
        cli.normal_form(argv)


@pytest.mark.parametrize("form", ["--config.{}={}", "--config.{} {}", "-config.{} {}"])
@pytest.mark.parametrize(
    "key, text, value",
    [
        ("peak_lr", "0.5", 0.5),
        ("peak_lr", "1", 1.0),
        ("end_lr", "-1e-3", -1e-3),  # the schema refuses it, in its own words
        ("num_steps", "None", None),
        ("num_epochs", "2", 2.0),
        ("sweep.warmup_steps", "(0,10)", (0, 10)),
        ("sweep.warmup_steps", "[0,10]", (0, 10)),
        ("sweep.warmup_steps", "0,10", (0, 10)),
        ("sweep.warmup_steps", "None", None),
        ("sweep.peak_lr", "(0.1,1)", (0.1, 1)),
        ("sweep.seeds", "3", 3),
        ("optimizer_args.clip_norm", "1.0", 1.0),
        ("optimizer_args.momentum", "0", 0.0),
        ("optimizer_args.nesterov", "true", True),
        ("optimizer_args.eps", "1e-3", 1e-3),  # new
        ("schedule_args.boundaries", "[5,8]", (5, 8)),  # new
        ("schedule_args.exponent", "None", None),
        ("transforms_args.warmup_until.metric", "error", "error"),  # new, with its parent
        ("dataset.name", "cifar10", "cifar10"),
        ("dataset.name", "'cifar10'", "cifar10"),
        ("dataset.data_dir", "123", "123"),
        ("stop_when_diverged", "False", False),
        ("model.width", "2", 2.0),
    ],
)
def test_a_value_has_the_type_of_its_key(form, key, text, value):
    found = changed(*form.format(key, text).split(" "))
    for name in key.split("."):
        found = found[name]
    assert found == value and type(found) is type(value)


def test_switches():
    assert changed("--config.optimizer_args.nesterov")["optimizer_args"]["nesterov"] is True
    assert changed("--noconfig.stop_when_diverged", "--config.seed=1")["stop_when_diverged"] is False
    assert changed("-config.stop_when_diverged", "F")["stop_when_diverged"] is False


@pytest.mark.parametrize(
    "argv, key, value",
    [
        (["dataset.image_size=None", "dataset.image_size=32"], "image_size", 32),
        (["dataset.image_size=32", "dataset.image_size=None"], "image_size", None),
        (["dataset.image_size=32", "dataset.image_size=None", "dataset.image_size=64"], "image_size", 64),
        (["dataset={'image_size':8}", "dataset.image_size=16"], "image_size", 16),
        (["dataset.image_size=16", "dataset={'image_size':8}"], "image_size", 8),
        (["dataset={'image_size':8}", "dataset={'image_size':0.5}", "dataset.image_size=2"], "image_size", 2.0),
    ],
)
def test_the_last_override_counts(argv, key, value):
    assert changed(*(f"--config.{arg}" for arg in argv))["dataset"][key] == value


@pytest.mark.parametrize("texts", [("2", "2.5"), ("2.5", "2"), ("None", "2"), ("a", "(1,2)"), ("1", "{'b':2}")])
def test_the_last_value_of_a_new_argument_may_have_another_type(texts):
    for parent in ("warmup_args", "transforms_args.warmup_until"):
        found = changed(*(f"--config.{parent}.exponent={text}" for text in texts))
        for name in parent.split("."):
            found = found[name]
        assert repr(found["exponent"]).replace(" ", "") == texts[-1]


def test_the_type_of_a_key_outlives_none():
    assert changed("--config.num_steps=None", "--config.num_steps=5")["num_steps"] == 5
    with pytest.raises(ValueError, match=r"--config.num_steps=1.5; allowed: an integer or None"):
        parse(f"--config={CONFIG}", "--config.num_steps=None", "--config.num_steps=1.5")


def test_overrides_may_stand_before_the_config_and_the_last_config_counts():
    found = parse("--config.seed=3", "--config=configs/lm_warmup.py", "--config", CONFIG)
    assert found.name == "resnet_warmup" and found.config.seed == 3 and found.config.num_steps == 4


def test_without_overrides_the_config_is_the_files_and_locked():
    found = parse(f"--config={CONFIG}", "--workdir", "a", "--workdir=b")
    assert found.config.to_dict() == resnet_warmup.get_config("smoke").to_dict()
    assert found.options == {"workdir": "b"} and found.name == "resnet_warmup"
    with pytest.raises(AttributeError, match="locked"):
        found.config.foo = 1


@pytest.mark.parametrize(
    "override, value",
    [
        ("sweep.warmup_steps=10", (10,)),
        ("sweep.norm=post", ("post",)),
        ("sweep.peak_lr=0.1", (0.1,)),
        ("transforms=warmup_until", ("warmup_until",)),
        ("transforms=()", ()),
    ],
)
def test_a_single_value_where_a_tuple_is_meant_is_a_tuple_of_one(override, value):
    found = changed(f"--config.{override}")
    for name in override.partition("=")[0].split("."):
        found = found[name]
    assert found == value


def test_none_empties_a_dict_or_removes_one_probe():
    config = changed("--config.sweep=None", "--config.decoding=None")
    assert config["sweep"] == {} and config["decoding"] == {}
    measured = parse(f"--config={CONFIG},diagnose=norms+sharpness", "--config.diagnostics.sharpness=None").config
    assert list(measured.diagnostics) == ["norms"]


@pytest.mark.parametrize(
    "argv, named",
    [
        (["--config.foo=1"], "unknown config key 'foo' (known: batch_size"),
        (["--config.foo", "1"], "unknown config key 'foo'"),
        (["--config.foo=None"], "unknown config key 'foo'"),
        (["--config.model.foo=None"], "unknown config key in model 'foo'"),
        (["--config.peak_rl=1"], "did you mean 'peak_lr'"),
        (["--config.clip_norm=1"], "did you mean 'optimizer_args.clip_norm'"),
        (["--config.optimiser_args.momentum=0.5"], "did you mean 'optimizer_args'"),
        (["--config.seed.x=1"], "config key in seed is 0; allowed: a dict, to have a key 'x'"),
        (["--config.num_steps=many"], "--config.num_steps=many; allowed: an integer or None"),
        (["--config.num_steps="], "--config.num_steps=; allowed: an integer"),
        (["--config.num_steps"], "--config.num_steps needs a value"),
        (["--noconfig.num_steps"], "--noconfig.num_steps needs a value"),
        (["--config.peak_lr=(1,2)"], "--config.peak_lr=(1,2); allowed: a number or None"),
        (["--config.schedule_args.exponent=(1.0,2.0)"], "exponent=(1.0,2.0); allowed: a number"),
        (["--config.stop_when_diverged=yes"], "stop_when_diverged=yes; allowed: true or false"),
        (["--config.sweep.norm=post,pre"], "sweep.norm=post,pre; allowed: a tuple, as in (0,50) or ('post','pre')"),
        (["--config.sweep.warmup_steps=(0"], "sweep.warmup_steps=(0; allowed: a tuple"),
        (["--config.sweep.warmup_steps=" + "(" * 9999], "(; allowed: a tuple"),
        (["--config.sweep={[]:1}"], "--config.sweep={[]:1}; allowed: a dict"),
        (["--config.num_steps=" + "9" * 9999], "9; allowed: an integer"),
        (["--config.=1"], "unknown config key ''"),
        (["--config.diagnostics.foo=1"], "unknown config key in diagnostics 'foo' (known: none)"),
        (["--config.sweep=5"], "--config.sweep=5; allowed: a dict"),
        (["--config.sweep.seeds=(1,2)"], "--config.sweep.seeds=(1,2); allowed: an integer"),
        (["--wrkdir=a"], "unknown argument '--wrkdir'; did you mean '--workdir'"),
        (["--workdir"], "--workdir needs a value: --workdir=DIR"),
        (["stray"], "unknown argument 'stray'"),
    ],
)
def test_a_mistake_names_what_is_allowed(argv, named):
    for given in (["--config", CONFIG, *argv], [*argv, f"--config={CONFIG}"]):
        if argv[-1].startswith("--") or given[-1] == argv[-1]:
            with pytest.raises(ValueError) as error:
                parse(*given)
            assert named in str(error.value)


def test_a_missing_config_is_named():
    with pytest.raises(ValueError, match=r"--config is missing; for example --config=configs/.* \(--help lists them\)"):
        parse("--config.peak_lr=1")


@pytest.mark.parametrize("path", ["configs/resnet.py", "resnet_warmup", "configs/resnet_warmup", "nowhere/a.py:smoke"])
def test_a_wrong_path_is_named_with_the_configs_that_exist(path):
    with pytest.raises(ValueError) as error:
        parse(f"--config={path}")
    known = "configs/lm_warmup.py, configs/phase_diagram.py, configs/resnet_warmup.py, configs/transformer_warmup.py"
    assert f"unknown config file '{path.partition(':')[0]}'" in str(error.value) and known in str(error.value)
    assert "resnet" not in path or "did you mean 'configs/resnet_warmup.py'" in str(error.value)


@pytest.mark.parametrize(
    "text, named",
    [
        ("x = 1", "AttributeError: module 'config_own' has no attribute 'get_config'"),
        ("def get_config(", "SyntaxError"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def get_config():\n  return 1 / 0", "ZeroDivisionError: division by zero"),
        ("def get_config():\n  return None", r"get_config\(\) returned None; allowed: a ConfigDict"),
        ("def get_config():\n  open('/nowhere')", "FileNotFoundError"),
    ],
)
def test_a_config_file_that_fails_is_named_with_the_reason(tmp_path, text, named):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(ValueError, match=named) as error:
        parse(f"--config={tmp_path}/own.py")
    assert str(error.value).startswith(f"{tmp_path}/own.py: ")


def test_a_config_file_of_ones_own(tmp_path, monkeypatch):
    text = "def get_config(a='0'):\n  return dict(a=float(a), b=dict(c=(1, 2), d=None))"
    (tmp_path / "own.py").write_text(text)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = parse("--config=~/own.py:3", "--config.b.c=5", "--config.b.d=x")
    assert found.config.to_dict() == {"a": 3.0, "b": {"c": (5,), "d": "x"}} and found.name == "own"
    with pytest.raises(ValueError, match="own.py:x: could not convert string to float"):
        parse("--config=~/own.py:x")


def test_help_shows_the_config_its_arguments_and_all_configs(capsys):
    for argv in (["--help"], ["-h"], ["--helpfull"], [f"--config={CONFIG}", "--help"], ["--help", "--config=nowhere"]):
        with pytest.raises(SystemExit, match="0"):
            parse(*argv)
        text = capsys.readouterr().out
        assert text.startswith("About.\n") and "--config=configs/resnet_warmup.py:cifar10,smoke --config." in text
        for written in ("--config=FILE[:ARG]", "--config.KEY=VALUE", "--print_config", "--help", "--workdir=DIR"):
            assert f"\n  {written} " in text
        for path in config_files.available():
            assert f"\n{path}: " in text
        assert "one of digits, cifar10, imagenet; batch_size=N; optimizer=one of none, sgd" in text
        assert "one of numbers, multi30k, iwslt, wmt; norm=one of post" in text
        assert "diagnose=some of" in text and max(map(len, text.splitlines())) <= 80


def test_the_printed_config_is_a_command_line_that_gives_it_again(capsys):
    import shlex

    with pytest.raises(SystemExit, match="0"):
        parse(f"--config={CONFIG}", "--config.optimizer_args.clip_norm=0.5", "--print_config")
    text = capsys.readouterr().out
    assert "\n--config.optimizer_args.clip_norm=0.5\n" in text
    assert "\n--config.num_epochs=None  # or a number\n" in text
    assert "\n--config.sweep.warmup_steps='(0, 50)'\n" in text
    printed = shlex.split(text, comments=True)
    assert parse("--config=configs/resnet_warmup.py", *printed).config.to_dict() == changed(
        "--config.optimizer_args.clip_norm=0.5"
    )


def run_in_process(monkeypatch, *argv):
    """Runs train.py up to the training, whose arguments it returns."""
    from warmup_jax.training import experiment

    def run(config, workdir, started, given):
        calls.append((config, workdir))
        return {"runs": [{}]}

    calls = []
    monkeypatch.setattr(sys, "argv", ["train.py", *argv])
    monkeypatch.setattr(train_program.process, "restart_with_huge_pages", lambda: None)
    monkeypatch.setattr(experiment, "run", run)
    cli.run(train_program.main, train_program.__doc__, **OPTIONS)
    return calls[0]


def test_flags_of_a_file(monkeypatch, tmp_path):
    (tmp_path / "flags").write_text(f"# of the study\n--config={ROOT}/{CONFIG}\n--config.seed=4\n")
    config, workdir = run_in_process(monkeypatch, f"--flagfile={tmp_path}/flags", "--workdir", str(tmp_path / "w"))
    assert config.seed == 4 and workdir == tmp_path / "w"


def test_the_default_workdir_never_collides(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "20260101-000000")
    found = [run_in_process(monkeypatch, f"--config={ROOT}/{CONFIG}")[1] for _ in range(4)]
    name = "runs/resnet_warmup-20260101-000000"
    assert list(map(str, found)) == [name, f"{name}-2", f"{name}-3", f"{name}-4"]


def test_a_default_workdir_of_a_config_that_is_refused_does_not_stay(monkeypatch, tmp_path, capsys):
    from warmup_jax.training import experiment

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", f"--config={ROOT}/{CONFIG}", "--config.batch_size=0"])
    monkeypatch.setattr(train_program.process, "restart_with_huge_pages", lambda: None)
    monkeypatch.setattr(experiment, "prepare_process", lambda model: None)
    monkeypatch.setattr(experiment.process, "enable_compilation_cache", lambda: None)
    with pytest.raises(SystemExit, match="2"):
        cli.run(train_program.main, train_program.__doc__, **OPTIONS)
    assert "batch_size" in capsys.readouterr().err and list((tmp_path / "runs").iterdir()) == []


def test_a_folder_without_room_for_runs_is_one_error(monkeypatch, tmp_path, capsys):
    (tmp_path / "runs").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        run_in_process(monkeypatch, f"--config={ROOT}/{CONFIG}")
    err = capsys.readouterr().err
    assert "'runs'; choose another place with --workdir=DIR" in err and err.count("\n") == 1


def test_a_workdir_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run_in_process(monkeypatch, f"--config={ROOT}/{CONFIG}", "--workdir=~/x")[1] == tmp_path / "x"


@pytest.mark.parametrize("address", ["gs://b/r", "s3://b/r", "file:///b/r", ""])
def test_a_workdir_that_is_no_path_is_one_error(monkeypatch, capsys, address):
    with pytest.raises(SystemExit, match="2"):
        run_in_process(monkeypatch, f"--config={ROOT}/{CONFIG}", f"--workdir={address}")
    out, err = capsys.readouterr()
    assert err.startswith(f"error: --workdir={address}; allowed: a path of this machine") and err.count("\n") == 1
    assert out == "" and not Path("gs:").exists()


def test_an_experiment_of_a_notebook_refuses_an_address_too(monkeypatch):
    from warmup_jax.training import experiment

    with pytest.raises(experiment.UserError, match="workdir=gs://b; allowed"):
        experiment.run(resnet_warmup.get_config("smoke"), "gs://b")


@pytest.mark.parametrize("out", [["--out", "X.png"], ["--out=X.png"]])
def test_shapes_take_their_path_in_both_forms(monkeypatch, tmp_path, out):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(schedules_program, "shapes", lambda path: Path(path).write_text("drawn"))
    schedules_program.main(["shapes", *out])
    assert (tmp_path / "X.png").read_text() == "drawn"


@pytest.mark.parametrize(
    "argv, named",
    [
        (["shapes", "extra"], "unrecognized arguments: extra"),
        (["shapes", "--markdown"], "unrecognized arguments: --markdown"),
        (["shapes", "--ou=x.png"], "unrecognized arguments: --ou=x.png"),
        (["list", "--out=a.md"], "--out: it needs --markdown"),
        (["list", "--markdown", "--out=nowhere.md"], "nowhere.md"),
        (["list", "--markdown", "--out=README.md"], "README.md lacks the line"),
        (["shapes", "--out=gs://b/x.png"], "--out=gs://b/x.png; allowed: a path of this machine"),
        (["shape"], "'shape'"),
        ([], "required"),
    ],
)
def test_the_schedules_program_refuses_other_arguments(argv, named, capsys):
    with pytest.raises(SystemExit, match="2"):
        schedules_program.main(argv)
    assert named in capsys.readouterr().err


def test_a_mistake_is_one_line_and_status_2():
    """Runs once as a process; the rest is tested inside this one."""
    argv = [sys.executable, "train.py", "--config", CONFIG, "--config.foo=1"]
    answer = subprocess.run(argv, text=True, capture_output=True, timeout=100)
    assert answer.returncode == 2 and answer.stdout == ""
    assert answer.stderr.startswith("error: unknown config key 'foo' (known: ") and answer.stderr.count("\n") == 1


def test_importing_the_command_line_reads_no_arguments():
    """A notebook runs train.py several times in one process, with other arguments each time."""
    code = (
        "import sys, runpy; sys.argv = ['a', '--config.x=1']\n"
        "for seed in '12':\n"
        f"  sys.argv = ['train.py', '--config={CONFIG}', '--config.seed=' + seed, '--print_config']\n"
        "  try: runpy.run_path('train.py', run_name='__main__')\n"
        "  except SystemExit as end: assert not end.code"
    )
    answer = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=100)
    assert answer.returncode == 0, answer.stderr
    assert [line for line in answer.stdout.splitlines() if ".seed=" in line] == ["--config.seed=1", "--config.seed=2"]


def test_the_keys_that_the_user_gave_are_known():
    argv = ["--config=configs/lm_warmup.py:smoke", "--config.peak_lr", "0.5", "--noconfig.model.bias"]
    assert cli.parse(argv, "about", {}).given == ("peak_lr", "model.bias")


@pytest.mark.parametrize(
    "error, said", [("KeyboardInterrupt", "stopped by SIGINT\n"), ("ValueError('bad')", "ValueError: bad\n")]
)
def test_ctrl_c_ends_a_program_without_a_traceback(error, said):
    code = f"from warmup_jax import streams; streams.begin_program(); raise {error}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.endswith(said) and done.returncode in (-signal.SIGINT, 1)
    assert ("Traceback" in done.stderr) == (error != "KeyboardInterrupt")
