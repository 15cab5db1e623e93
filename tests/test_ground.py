"""The ground holds: what README, Makefile, compose file, image, locks and changelog say of each other is so."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from streams.__main__ import COMMANDS, main
from streams.brokers.jars import KAFKA_VERSION
from streams.settings import Settings

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Targets that an operator or a newcomer is promised.
PROMISED = {
    *("help", "venv", "demo", "test", "test-kafka", "bench", "lint"),
    *("broker", "topics", "clean", "lock", "export"),
}


def named(path):
    return str(path.relative_to(ROOT))


def targets():
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def fences(path, *languages):
    return [code for language, code in FENCE.findall(path.read_text(encoding="utf-8")) if language in languages]


def commands(path):
    """Command lines in fences and inline code, without comments."""
    text = path.read_text(encoding="utf-8")
    lines = [line for code in fences(path, "", "sh", "bash") for line in code.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    return [re.sub(r"\s+#.*", "", line).strip() for line in lines]


def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def test_the_makefile_has_what_is_promised_and_explains_each_target():
    assert targets() >= PROMISED
    told = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {re.sub(r"\x1b\[\d*m", "", line).split()[0] for line in told.splitlines()} == targets()


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_each_make_command_that_a_page_names_exists(path):
    asked = {found[1] for line in commands(path) if (found := re.match(r"make ([a-z-]+)", line))}
    assert asked <= targets()
    assert path.name != "README.md" or asked >= {"demo", "test", "venv", "lint"}


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_each_server_command_that_a_page_names_exists_with_its_options(path):
    runner = CliRunner()
    for line in commands(path):
        if (found := re.search(r"python -m streams ([a-z][a-z-]*)(?: ([a-z]+)\b)?(.*)", line)) is None:
            continue
        name, sub, rest = found.groups()
        assert name in COMMANDS, line
        shown = runner.invoke(main, [name, *([sub] if sub else []), "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        if shown.exit_code and sub:
            shown = runner.invoke(main, [name, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert shown.exit_code == 0, f"{line}: {shown.output}"
        for option in re.findall(r"--[a-z][a-z-]*", rest):
            assert option in shown.output, line


def test_the_ci_script_runs_the_readmes_commands():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert set(re.findall(r"^make ([a-z-]+)", script, re.MULTILINE)) >= {"lint", "test", "test-kafka", "demo"}
    subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, check=True)
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_each_link_and_picture_of_a_page_is_there(path):
    links = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", path.read_text(encoding="utf-8")))
    local = [link.partition("#")[0] for link in links if "://" not in link]
    missing = [link for link in local if link and not (path.parent / link).exists()]
    assert not missing


def test_every_page_can_be_reached_from_the_readme():
    linked = set(re.findall(r"\]\((docs/[^)#]+)\)", README))
    assert {named(page) for page in PAGES if page.parent.name == "docs"} <= linked


def test_each_test_that_the_threat_model_names_exists():
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    told = re.findall(r"`([a-z]+/[a-z_]+\.(?:py|yaml))`", text)
    assert len(told) > 20
    assert [name for name in told if not (ROOT / "tests" / name).exists()] == []


def test_the_readmes_python_is_right():
    samples = fences(ROOT / "README.md", "python")
    assert samples
    for sample in samples:
        for node in ast.walk(ast.parse(sample)):
            if isinstance(node, ast.ImportFrom):
                assert {alias.name for alias in node.names} <= set(import_module(node.module).__all__)


def test_the_readmes_sample_deploys_when_permitted_and_says_why_when_blocked(monkeypatch, capsys):
    [sample] = fences(ROOT / "README.md", "python")
    testing = import_module("stayhand.testing")
    stayhand = import_module("stayhand")
    for block in (False, True):
        fake = testing.FakeGuard()
        if block:
            fake.gate.block("deploy.*", reason="Not on a Friday.")
        else:
            fake.gate.permit("deploy.*")
        monkeypatch.setattr(stayhand, "Guard", lambda fake=fake: fake)
        exec(compile(sample, "README.md", "exec"), {})
    assert capsys.readouterr().out == "deploying\nNot on a Friday.\n"


def test_the_compose_file_keeps_the_compose_specification():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*command, "docker-compose.yml"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_compose_file_refers_only_to_what_it_defines():
    file = compose()
    for service in file["services"].values():
        assert set(service.get("depends_on", {})) <= set(file["services"])
        assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(file["volumes"])
        assert set(service.get("secrets", [])) <= set(file.get("secrets", {}))


def test_each_published_port_is_on_loopback():
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)


def test_each_service_that_runs_on_has_a_health_check_and_waits_for_what_it_needs():
    services = compose()["services"]
    running = {name: service for name, service in services.items() if service.get("restart") != "no"}
    assert set(running) >= {"kafka", "scorer"}
    assert all("test" in service["healthcheck"] for service in running.values())
    assert {needed["condition"] for needed in services["scorer"]["depends_on"].values()} == {
        "service_healthy",
        "service_completed_successfully",
    }


def test_compose_runs_the_kafka_that_is_tested_and_lets_a_session_last_two_seconds():
    kafka = compose()["services"]["kafka"]
    assert kafka["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert int(kafka["environment"]["KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS"]) <= 2_000
    assert kafka["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_positions_outlive_the_audit_and_the_controls_on_that_kafka():
    table = import_module("schemas.topics").BY_KIND
    kept_ms = int(compose()["services"]["kafka"]["environment"]["KAFKA_OFFSETS_RETENTION_MINUTES"]) * 60_000
    assert kept_ms > max(table["audit"].retention_ms, table["controls"].retention_ms)


def test_each_setting_in_compose_and_image_is_one_of_the_scorers():
    told = {name for service in compose()["services"].values() for name in service.get("environment", {})}
    told |= set(re.findall(r"\b(STAYHAND_[A-Z_]+)=", (ROOT / "Dockerfile").read_text(encoding="utf-8")))
    known = {f"STAYHAND_{name.upper()}" for name in Settings.model_fields}
    ours = {name for name in told if name.startswith("STAYHAND_")}
    assert ours
    assert ours <= known


def test_the_image_runs_as_nobody_special_from_the_hashed_lock_and_holds_what_the_server_imports():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    user = re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)
    assert user
    assert int(user[-1]) > 0
    assert "--require-hashes" in text
    copied = set(re.findall(r"^COPY (\w+) \./\w+$", text, re.MULTILINE))
    assert copied == {"sdk", "schemas", "models", "streams", "policies"}
    allowed = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE))
    assert allowed == copied | {"requirements/server.lock"}


@pytest.mark.parametrize("path", LOCKS, ids=named)
def test_a_lock_pins_everything_by_hash_and_names_no_index(path):
    text = path.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*-{1,2}(?!hash)[a-z]", text, re.MULTILINE)
    entries = [entry for entry in re.split(r"\n(?=\S)", text) if not entry.startswith("#")]
    assert entries
    assert all("==" in entry.split()[0] and "--hash=sha256:" in entry for entry in entries if entry.strip())


def pins(name):
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)", text, re.MULTILINE))


def test_the_server_runs_on_the_versions_that_are_tested_and_needs_no_test_tools():
    server, dev = pins("server.lock"), pins("dev.lock")
    assert server
    assert server.items() <= dev.items()
    assert not set(server) & {"pytest", "noida-db", "mypy", "hypothesis", "pip"}


def test_each_requirement_of_the_project_is_locked():
    names = [re.split(r"[<>=\[ ]", each)[0] for each in PROJECT["project"]["dependencies"]]
    server = [re.split(r"[<>=\[ ]", each)[0] for each in PROJECT["project"]["optional-dependencies"]["server"]]
    dev = [re.split(r"[<>=\[ ]", each)[0] for each in PROJECT["dependency-groups"]["dev"]]
    assert {*names, *server} <= set(pins("server.lock"))
    assert {*names, *server, *dev} <= set(pins("dev.lock"))


def test_the_changelog_has_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(PROJECT['project']['version'])}\] - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE)


def test_the_licence_is_the_one_that_the_project_names():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_picture_is_sound_and_says_in_words_what_it_shows():
    element = import_module("xml.etree.ElementTree").parse(ROOT / "docs" / "data-path.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert element.get("role") == "img"
    for name in ("title", "desc"):
        assert (element.findtext(space + name) or "").strip()
    assert "prefers-color-scheme: dark" in (element.findtext(space + "style") or "")


def test_the_exported_contract_that_the_readme_names_is_there():
    vectors = json.loads((ROOT / "schemas" / "vectors.json").read_text(encoding="utf-8"))
    assert vectors
    assert yaml.safe_load((ROOT / "schemas" / "asyncapi.yaml").read_text(encoding="utf-8"))["asyncapi"].startswith("3.")
