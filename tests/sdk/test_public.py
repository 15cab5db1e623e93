"""What other people's programs may rely on: names, signatures, what an import pulls in."""

import ast
import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import stayhand
import stayhand.testing

PACKAGE = Path(stayhand.__file__).parent
PUBLIC = [
    "Action",
    "AsyncGuard",
    "AsyncPermit",
    "Blocked",
    "ConfigurationError",
    "Context",
    "Decision",
    "Enforcing",
    "Guard",
    "GuardClosed",
    "GuardConfig",
    "InvalidAction",
    "LocalRules",
    "Message",
    "PendingAction",
    "Permit",
    "Reason",
    "Reconfirm",
    "Rejected",
    "Resource",
    "SecretMatch",
    "StayhandError",
    "Subject",
    "Unavailable",
]


def test_the_public_names_are_these() -> None:
    assert sorted(stayhand.__all__) == sorted(PUBLIC)
    assert all(hasattr(stayhand, name) for name in PUBLIC)


LIST_THIRD_PARTY = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
import stayhand, stayhand.testing, stayhand.cli
new = [module for name, module in sys.modules.items() if name not in before]
print(*{module.__name__.split(".")[0] for module in new if "site-packages" in (getattr(module, "__file__", "") or "")})
"""


def test_an_import_pulls_in_nothing_but_the_standard_library_confluent_kafka_and_pydantic() -> None:
    command = [sys.executable, "-I", "-c", LIST_THIRD_PARTY, str(PACKAGE.parent)]
    third_party = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    of_pydantic = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
    assert {"confluent_kafka", "pydantic"} <= third_party
    assert third_party - of_pydantic == {"confluent_kafka"}


def test_no_module_imports_the_server() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            tops = {name.split(".")[0] for name in names}
            assert not tops & {"schemas", "models", "streams", "dashboard"}, path


def test_guard_and_async_guard_offer_the_same_calls() -> None:
    def calls(of: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(of, inspect.isfunction)
            if not name.startswith("_")
        }

    assert calls(stayhand.Guard) == calls(stayhand.AsyncGuard)
    assert {"check", "enforce", "report", "wait_final", "connect", "close"} == calls(stayhand.Guard).keys()


def test_the_documented_example_of_the_doubles_works() -> None:
    result = doctest.testmod(stayhand.testing)
    assert (result.failed, result.attempted > 0) == (0, True)
