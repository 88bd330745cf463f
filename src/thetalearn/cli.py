"""The command line: ``thetalearn list | info | check | demo``."""

from __future__ import annotations

import argparse
import inspect
import re
import shutil
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import thetalearn
from thetalearn import plugins

if TYPE_CHECKING:
    from thetalearn.testing import CheckResult

# The libraries behind an estimator take seconds to import, so each command imports what it needs.

_INTERRUPTED = 130  # the shell's exit code for Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        The arguments without the program name; ``None`` takes them from ``sys.argv``.

    Returns
    -------
    exit_code : int
        0 if all went well, 1 if a check failed or none ran, 2 if the arguments are wrong,
        130 after Ctrl-C.

    Examples
    --------
    >>> from thetalearn.cli import main
    >>> main(["info", "no-such-estimator"])
    2
    """
    arguments = _parser().parse_args(argv)
    try:
        exit_code: int = arguments.command(arguments)
    except (plugins.PluginError, OSError) as error:
        _complain(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        _complain("interrupted")
        return _INTERRUPTED
    return exit_code


def _parser() -> argparse.ArgumentParser:
    """Return the parser; each command stores its function as ``command``."""
    parser = argparse.ArgumentParser(
        prog="thetalearn", description="Inspect, check and try the installed estimators."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {thetalearn.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    list_ = commands.add_parser("list", help="list the installed estimators")
    list_.add_argument(
        "--type", choices=plugins.TYPE_FILTERS, help="only this type (imports the estimators)"
    )
    list_.set_defaults(command=_list)

    info = commands.add_parser("info", help="describe one estimator and its parameters")
    info.add_argument("name", metavar="NAME", help="a name that `thetalearn list` shows")
    info.set_defaults(command=_info)

    check = commands.add_parser("check", help="check that estimators keep the contract")
    which = check.add_mutually_exclusive_group(required=True)
    which.add_argument("names", metavar="NAME", nargs="*", default=[], help="estimators to check")
    which.add_argument("--all", action="store_true", help="check every installed estimator")
    check.set_defaults(command=_check)

    demo = commands.add_parser("demo", help="run the library on real data and plot the results")
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("thetalearn-demo"),
        metavar="DIR",
        help="folder for the plots, created if need be (default: %(default)s)",
    )
    demo.set_defaults(command=_demo)
    return parser


def _list(arguments: argparse.Namespace) -> int:
    """Print a table of the installed estimators."""
    with _plain_warnings():
        records = plugins.list_estimators()
        if arguments.type is not None:
            names = {name for name, _ in plugins.all_estimators(arguments.type)}
            records = [record for record in records if record.name in names]
    rows = [
        (record.name, record.object_path, f"{record.distribution} {record.version}")
        for record in records
    ]
    _print_table(("name", "class", "distribution"), rows)
    return 0


def _info(arguments: argparse.Namespace) -> int:
    """Print what an estimator is and its parameters."""
    estimator = plugins.get_estimator(arguments.name)
    record = plugins.find_record(arguments.name)
    docstring = inspect.getdoc(estimator) or ""
    summary = docstring.partition("\n\n")[0]
    print(f"{record.name}: {_plain(summary)}\n")
    print(f"class         {estimator.__module__}.{estimator.__qualname__}")
    print(f"distribution  {record.distribution} {record.version}\n")
    descriptions = _parameter_descriptions(docstring)
    rows = [(name, default, descriptions.get(name, "")) for name, default in _defaults(estimator)]
    if rows:
        _print_table(("parameter", "default", "description"), rows)
    else:
        print("It has no parameters.")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    """Check estimators one after the other; 1 if any fails."""
    with _plain_warnings():
        names = arguments.names
        if arguments.all:
            names = [record.name for record in plugins.list_estimators()]
    for name in names:
        plugins.find_record(name)  # a misspelt name fails now, not after minutes of checks
    kept = [_check_one(name) for name in names]
    return 0 if kept and all(kept) else 1


def _check_one(name: str) -> bool:
    """Check one estimator, print a line and its failures, and tell whether it passed."""
    try:
        estimator = plugins.get_estimator(name)
    except plugins.PluginImportError as error:
        # One broken plugin must not hide the results of the others.
        print(f"{name}: FAILED\n  {error}", flush=True)
        return False
    from thetalearn.testing import check_contract

    start = time.perf_counter()
    results = check_contract(estimator)
    seconds = time.perf_counter() - start
    counts = {
        status: sum(result.status == status for result in results)
        for status in ("passed", "failed", "skipped")
    }
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    print(f"{name}: {summary} ({seconds:.1f} s)", flush=True)
    for result in results:
        if result.status == "failed":
            print(f"  FAILED {_describe_failure(result)}", flush=True)
    return counts["failed"] == 0 and counts["passed"] > 0


def _demo(arguments: argparse.Namespace) -> int:
    """Run the demonstration."""
    from thetalearn import demo

    demo.run(arguments.output)
    return 0


def _describe_failure(result: CheckResult) -> str:
    """Return the suite, the check and its error, the error's further lines indented."""
    error = f"{type(result.error).__name__}: {result.error}"
    return f"[{result.suite}] {result.name}\n{textwrap.indent(error.strip(), ' ' * 4)}"


def _defaults(estimator: type[Any]) -> list[tuple[str, str]]:
    """Return the parameters of a class with the text of their defaults."""
    parameters = list(inspect.signature(estimator).parameters.values())
    return [
        (p.name, "(required)" if p.default is p.empty else repr(p.default))
        for p in parameters
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


def _parameter_descriptions(docstring: str) -> dict[str, str]:
    """Return the first sentence about each parameter in a numpydoc docstring."""
    section = re.search(
        r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}$|\Z)", docstring, flags=re.MULTILINE | re.DOTALL
    )
    if section is None:
        return {}
    descriptions = {}
    entries = re.findall(r"^(\S[^\n]*)\n((?:[ \t]+\S[^\n]*\n?)*)", section[1], flags=re.MULTILINE)
    for header, body in entries:
        sentence = re.split(r"(?<=\.) ", _plain(body), maxsplit=1)[0]
        for name in header.partition(":")[0].split(","):
            descriptions[name.strip()] = sentence
    return descriptions


def _plain(text: str) -> str:
    """Return one line of text without the marks of reStructuredText."""
    text = re.sub(r":[a-z]+:(?=`)", "", " ".join(text.split()))
    return text.replace("`", "")


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns; the last one is wrapped at the edge of the terminal."""
    table = [tuple(header), *(tuple(row) for row in rows)]
    *widths, _ = [max(map(len, column)) for column in zip(*table, strict=True)]
    indent = sum(width + 2 for width in widths)
    room = max(30, shutil.get_terminal_size((100, 24)).columns - indent)
    for *cells, last in table:
        aligned = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        first, *more = textwrap.wrap(last, room, break_long_words=False) or [""]
        print("  ".join([*aligned, first]).rstrip())
        for line in more:
            print(" " * indent + line)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print warnings of the discovery as one line of text each, without the source line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", plugins.PluginWarning)
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        _complain(f"warning: {message}")


def _complain(message: str) -> None:
    """Print a message to standard error."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
