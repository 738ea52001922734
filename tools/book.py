#!/usr/bin/env python3
"""The book's own tool: builds and checks the notebooks, and makes from them what others need.

tools/book.py build [CHAPTER ...] [--all]     compose the notebooks, run the lessons whose code changed
tools/book.py check                           everything stale, unpaired, untranslated, oversized, unlisted
tools/book.py accept CHAPTER/KIND:LINE        say that the Chinese after this English cell is right again
tools/book.py site [--out DIR] [--no-solutions]   the website, in both languages
tools/book.py assignments [--out DIR]         nbgrader's course: what to hand out, one assignment per language
tools/book.py grade [--out DIR]               marks and feedback for what was handed in
tools/book.py workspace [--lang zh] [--out DIR]   copies for a student to work in
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from bookbuilder.manifest import LANGUAGES, BookError, Manifest, read_manifest

ROOT = Path(__file__).resolve().parent.parent


def run_build(manifest: Manifest, options: argparse.Namespace) -> int:
    from bookbuilder import readme
    from bookbuilder.building import build

    for slug in options.chapters:
        manifest.chapter(slug)
    for path in build(manifest, options.chapters, run_all=options.all):
        print(f"built {path.relative_to(manifest.root)} ({path.stat().st_size // 1000} KB)")
    for path in readme.update(manifest):
        print(f"renewed the table in {path.relative_to(manifest.root)}")
    return 0


def run_check(manifest: Manifest, options: argparse.Namespace) -> int:
    from bookbuilder.checking import check

    problems, warnings = check(manifest)
    for warning in warnings:
        print(f"warning: {warning}")
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems, {len(warnings)} warnings")
    return 1 if problems else 0


def run_accept(manifest: Manifest, options: argparse.Namespace) -> int:
    from bookbuilder.source import accept

    place, _, line = options.cell.rpartition(":")
    if not line.isdigit():
        raise BookError(f"{options.cell!r} must be CHAPTER/KIND:LINE, for example 03_attention/lesson:12")
    english, chinese = accept(manifest.src / f"{place}.py", int(line))
    print(f"{english}\n\n{'-' * 20}\n\n{chinese}\n\naccepted")
    return 0


def run_site(manifest: Manifest, options: argparse.Namespace) -> int:
    from bookbuilder.site import make_site

    if options.no_solutions:
        manifest = dataclasses.replace(manifest, solutions=False)
    print(make_site(manifest, options.out or manifest.root / "site" / "_build" / "html"))
    return 0


def run_assignments(manifest: Manifest, options: argparse.Namespace) -> int:
    from bookbuilder.assignments import make_assignments, release

    course = options.out or manifest.root / "classroom" / "_build"
    make_assignments(manifest, course)
    for path in release(course):
        print(path)
    return 0


def run_grade(manifest: Manifest, options: argparse.Namespace) -> int:
    from bookbuilder.assignments import grade, make_assignments

    course = options.out or manifest.root / "classroom" / "_build"
    make_assignments(manifest, course)
    print(grade(course))
    return 0


def run_workspace(manifest: Manifest, options: argparse.Namespace) -> int:
    from bookbuilder.workspace import make_workspace

    folder = options.out or manifest.root / "workspace"
    page, said = make_workspace(manifest, folder, options.lang)
    for sentence in said:
        print(sentence)
    print(page.relative_to(folder))
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser("build")
    build.add_argument("chapters", nargs="*", metavar="CHAPTER")
    build.add_argument("--all", action="store_true", help="run the lessons again even where no code changed")
    build.set_defaults(run=run_build)
    commands.add_parser("check").set_defaults(run=run_check)
    accept = commands.add_parser("accept")
    accept.add_argument("cell", metavar="CHAPTER/KIND:LINE")
    accept.set_defaults(run=run_accept)
    site = commands.add_parser("site")
    site.add_argument("--out", type=Path)
    site.add_argument("--no-solutions", action="store_true", help="leave the solutions of the exercises out")
    site.set_defaults(run=run_site)
    assignments = commands.add_parser("assignments")
    assignments.add_argument("--out", type=Path)
    assignments.set_defaults(run=run_assignments)
    grade = commands.add_parser("grade")
    grade.add_argument("--out", type=Path)
    grade.set_defaults(run=run_grade)
    workspace = commands.add_parser("workspace")
    workspace.add_argument("--lang", choices=LANGUAGES, default="en")
    workspace.add_argument("--out", type=Path)
    workspace.set_defaults(run=run_workspace)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        return options.run(read_manifest(ROOT), options)
    except BookError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was written so far is whole", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
