#!/usr/bin/env python3
"""Fails on an import against the layers of a crate, and on a circle of files.

It also fails where ARCHITECTURE.md names a file that is not there.

ARCHITECTURE.md lists the layers of each crate, in a block that begins with "```text" and "layers of <crate>": one line
for each layer, the highest first, with the files and folders in it. A file imports what is below it, or beside it in
the same layer as long as that makes no circle. What is only compiled for tests does not count.
"""

import re
import sys
from pathlib import Path

# What is no code: comments, strings, characters. The quote of a lifetime is none.
NO_CODE = re.compile(
    r"//[^\n]*|/\*.*?\*/|r(#*)\".*?\"\1|\"(?:\\.|[^\"\\])*\"|'(?:\\.[^\n']*|[^\n\\'])'", re.DOTALL
)
# What would hide an import from this check, and is not needed.
HIDDEN = re.compile(
    r"\binclude!|#\[path\b|\bextern\s+crate\s+self\b|\buse\s+(?:crate|super|self)\s+as\b"
)
OPENING, CLOSING = "([{", ")]}"


def blank(text):
    """Replaces everything but the ends of lines, so that a place keeps its line."""
    return re.sub(r"[^\n]", " ", text)


def end_of_item(code, place):
    """Finds the end of the item, the variant or the arm that begins at `place`."""
    item = r"\s*(?:pub(?:\([^)]*\))?\s+)?(?:const|static|type|async|unsafe|extern|fn|impl|struct|enum|trait|mod|use|macro_rules)\b"
    ends = ";" if re.compile(item).match(code, place) else ",;"
    depth = 0
    for place in range(place, len(code)):
        character = code[place]
        if character in OPENING:
            depth += 1
        elif character in CLOSING:
            depth -= 1
            if depth < 0 or (depth == 0 and character == "}"):
                return place + (depth == 0)
        elif depth == 0 and character in ends:
            return place + 1
    return len(code)


def code_of(text):
    """Returns the code that is not for tests alone, with every line in its place."""
    code = NO_CODE.sub(lambda found: blank(found.group()), text)
    code = re.sub(r"pub\(in [\w:]+\)", lambda found: blank(found.group()), code)
    while found := re.search(r"#\[cfg\((?:test|all\(test\b[^\]]*)\)\]\s*(#\[[^\]]*\]\s*)*", code):
        end = end_of_item(code, found.end())
        code = code[: found.start()] + blank(code[found.start() : end]) + code[end:]
    return code


def names(code, place, path):
    """Yields every path of a tree such as `super::{a::B, c}`."""
    while name := re.compile(r"\s*(\w+|\*)(\s*::)?").match(code, place):
        path, place = [*path, name[1]], name.end()
        if not name[2]:
            yield path
            return
    if code[place : place + 1] == "{":
        for branch in branches(code, place + 1):
            yield from names(code, branch, path)
    elif path:
        # A turbofish, as in `a::b::<C>()`.
        yield path


def branches(code, place):
    """Yields where the branches of a tree begin that has been opened before `place`."""
    yield place
    depth = 0
    while depth >= 0:
        depth += (code[place] in OPENING) - (code[place] in CLOSING)
        if depth == 0 and code[place] == ",":
            yield place + 1
        place += 1


def imports(module, text):
    """Yields the paths that a file names of its own crate, from the root on, each with its line."""
    code = code_of(text)
    inner = [
        (found.start(), end_of_item(code, found.start()), found[1])
        for found in re.finditer(r"\bmod\s+(\w+)\s*\{", code)
    ]
    children = set(re.findall(r"\bmod\s+(\w+)\s*;", code))
    roots = "|".join(["crate", "self", "super", *sorted(children)])
    for found in re.finditer(rf"(?<![\w:.])(?=({roots})\s*::)", code):
        here = module + [name for begin, end, name in inner if begin < found.start() < end]
        for first, *rest in names(code, found.start(), []):
            base = {"crate": [], "self": here, "super": here[:-1]}.get(first)
            if base is None:
                base, rest = module, [first, *rest]
            while rest[:1] == ["super"]:
                base, rest = base[:-1], rest[1:]
            yield code.count("\n", 0, found.start()) + 1, base + rest


def modules(source):
    """Returns the files of a crate by their paths, without those that are tests."""
    found = {}
    for file in sorted(source.rglob("*.rs")):
        path = list(file.relative_to(source).with_suffix("").parts)
        path = path[:-1] if path[-1] == "mod" else path
        if "tests" not in path:
            found[() if path == ["lib"] else tuple(path)] = file
    return found


def edges(files):
    """Returns, for each file, what files it imports and on what line."""
    graph = {}
    for module, file in files.items():
        graph[module] = {}
        for line, path in imports(list(module), file.read_text()):
            target = tuple(path)
            while target not in files:
                target = target[:-1]
            if target != module:
                graph[module].setdefault(target, line)
    return graph


def circle(graph):
    """Returns the files of a circle, in order, if there is one."""
    done, way = set(), []

    def visit(module):
        if module in way:
            return way[way.index(module) :]
        if module in done:
            return None
        way.append(module)
        for target in graph[module]:
            if found := visit(target):
                return found
        done.add(way.pop())
        return None

    return next((found for module in graph if (found := visit(module))), None)


def layers_in(page, crate):
    """Returns the names in each layer of a crate, the highest first."""
    block = re.search(rf"```text\nlayers of {re.escape(crate)}\n(.*?)```", page, re.DOTALL)
    if not block:
        sys.exit(f"ARCHITECTURE.md has no layers of {crate}")
    return [line.split() for line in block[1].splitlines()]


def complaints(source, layers):
    """Yields a line for everything that is against the rules."""
    files = modules(source)
    graph = edges(files)
    level = {name: number for number, names in enumerate(layers) for name in names}
    of = {module: module[0] if module else "lib" for module in files}
    for module, file in files.items():
        if found := HIDDEN.search(code_of(file.read_text())):
            yield f"{file}: `{found.group()}` would hide an import from this check"
        if of[module] not in level:
            yield f"{file}: `{of[module]}` is in no layer of ARCHITECTURE.md"
            continue
        for target, line in graph[module].items():
            if level.get(of[target], 0) < level[of[module]]:
                path = "::".join(("crate", *target))
                yield f"{file}:{line}: imports `{path}`, which is above `{of[module]}`; a file imports what is below it"
    for name in level.keys() - set(of.values()):
        yield f"ARCHITECTURE.md: there is no `{name}` in {source}"
    if found := circle(graph):
        way = " → ".join(
            f"{files[module]}:{graph[module][target]}"
            for module, target in zip(found, [*found[1:], found[0]])
        )
        yield f"a circle of {len(found)} files, each importing the next: {way}"


def missing(page, folders):
    """Yields a line for every file that the page names and that is not there."""
    for name in sorted(set(re.findall(r"`([\w/]+\.rs)`", page))):
        if not any((folder / name).exists() for folder in folders):
            yield f"ARCHITECTURE.md: there is no `{name}`"


def main():
    root = Path(__file__).resolve().parent.parent
    page = (root / "ARCHITECTURE.md").read_text()
    found = [
        complaint.replace(f"{root}/", "")
        for crate in ("graceful-runtime", "graceful-macros")
        for complaint in complaints(root / crate / "src", layers_in(page, crate))
    ]
    found += missing(page, [root, root / "graceful-runtime/src"])
    print("\n".join(found) or "no import upwards, no circle")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
