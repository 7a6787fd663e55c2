"""Fails if a dependency of a published crate needs a newer Rust than the workspace promises."""

import json
import sys


def version(text):
    return tuple(int(part) for part in text.split("."))[:2]


promised = sys.argv[1]
metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}

waiting = [id for id, package in packages.items() if package["name"] == "graceful-runtime"]
seen = set()
while waiting:
    id = waiting.pop()
    if id in seen:
        continue
    seen.add(id)
    for dependency in nodes[id]["deps"]:
        if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
            waiting.append(dependency["pkg"])

too_new = [
    f"{packages[id]['name']} {packages[id]['version']} needs Rust {packages[id]['rust_version']}"
    for id in sorted(seen)
    if packages[id]["rust_version"] and version(packages[id]["rust_version"]) > version(promised)
]
print(f"{len(seen)} packages are looked at; Rust {promised} is promised")
sys.exit("\n".join(too_new) or 0)
