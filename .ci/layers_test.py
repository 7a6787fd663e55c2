#!/usr/bin/env python3
"""Shows that `layers.py` fails where it has to, and only there."""

import tempfile
import unittest
from pathlib import Path

from layers import complaints, layers_in, missing

LAYERS = [["lib"], ["upper"], ["lower", "other"]]


def check(files, layers=None):
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory)
        for name in ("lib", "upper", "lower", "other"):
            files.setdefault(f"{name}.rs", "")
        for name, text in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        return [line.replace(f"{source}/", "") for line in complaints(source, layers or LAYERS)]


class Layers(unittest.TestCase):
    def expect(self, files, *expected):
        found = check(files)
        self.assertEqual(len(found), len(expected), found)
        for line, part in zip(found, expected):
            self.assertIn(part, line)

    def test_downwards_and_sideways_is_allowed(self):
        self.expect({"upper.rs": "use crate::lower::A;", "lower.rs": "use crate::other::B;"})

    def test_upwards_is_not(self):
        for text in (
            "\n\nuse crate::upper::A;",
            "\n\nuse super::upper::A;",
            "\n\nuse crate::{other::B, upper::{A, C}};",
            "\n\npub(crate) use crate::upper as up;",
            "\n\nfn f() { crate::upper::g() }",
            "\n\nmod inner { use super::super::upper::A; }",
            "\n\nfn f() { crate::upper::g::<u8>() }",
            "\n\nmacro_rules! m { () => { $crate::upper::g() } }",
            "\n\nconst A: [char; 2] = ['\\'','\"']; use crate::upper::A; // \"",
        ):
            with self.subTest(text):
                self.expect({"lower.rs": text}, "lower.rs:3: imports `crate::upper`")

    def test_what_the_root_exports_is_above(self):
        self.expect({"lower.rs": "use crate::Listener;"}, "lower.rs:1: imports `crate`")

    def test_a_file_in_a_folder_is_of_its_layer(self):
        self.expect({"lower/a.rs": "use crate::upper::A;"}, "lower/a.rs:1: imports `crate::upper`")

    def test_a_circle_is_found(self):
        self.expect(
            {"lower.rs": "use crate::other::A;", "other.rs": "\nuse super::lower::B;"},
            "a circle of 2 files, each importing the next: lower.rs:1 → other.rs:2",
        )

    def test_a_circle_of_a_folder_with_a_file_in_it_is_one(self):
        files = {"lower.rs": "mod a;\nuse self::a::A;", "lower/a.rs": "use super::B;"}
        self.expect(files, "a circle of 2 files")

    def test_a_child_without_self_is_seen(self):
        files = {"lower.rs": "mod a;\nuse a::A;", "lower/a.rs": "use super::B;"}
        self.expect(files, "a circle of 2 files")

    def test_what_would_hide_an_import_is_forbidden(self):
        for text in ('#[path = "upper.rs"] mod x;', 'include!("x");', "use crate as root;"):
            with self.subTest(text):
                self.expect({"lower.rs": text}, "would hide an import")

    def test_what_is_no_import_does_not_count(self):
        for text in (
            "// use crate::upper::A;",
            "/* use crate::upper::A; */",
            "//! [`A`](crate::upper::A)",
            'const A: &str = "crate::upper::A";',
            'const A: &str = r#" "crate::upper::A "#;',
            "const A: char = '\"'; // crate::upper::A \"",
            "pub(in crate::upper) fn a<'a>(_: &'a str) {}",
            "mod inner { use super::A; }",
            "#[cfg(test)]\nmod tests { use crate::upper::A; }",
            "#[cfg(test)]\nuse crate::upper::A;",
            "enum A { #[cfg(test)] B(crate::upper::B), C }",
            "#[cfg(test)]\nfn f<A, B>() { crate::upper::g() }",
            '#[cfg(all(test, feature = "x"))]\nmod m { use crate::upper::A; }',
        ):
            with self.subTest(text):
                self.expect({"lower.rs": text})

    def test_what_comes_behind_a_test_counts(self):
        text = "#[cfg(test)]\nmod tests { fn f() {} }\nuse crate::upper::A;"
        self.expect({"lower.rs": text}, "lower.rs:3:")

    def test_every_file_has_a_layer_and_every_name_a_file(self):
        self.expect({"new.rs": ""}, "`new` is in no layer")
        found = check({}, [*LAYERS, ["old"]])
        self.assertEqual(len(found), 1, found)
        self.assertIn("there is no `old`", found[0])

    def test_the_layers_are_read_from_the_page(self):
        page = "text\n\n```text\nlayers of a\nlib\nb c\n```\n"
        self.assertEqual(layers_in(page, "a"), [["lib"], ["b", "c"]])
        with self.assertRaises(SystemExit):
            layers_in(page, "b")

    def test_the_files_that_the_page_names_are_there(self):
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            (folder / "a.rs").write_text("")
            self.assertEqual([*missing("`a.rs` and `a()`", [folder])], [])
            self.assertEqual(len([*missing("`a.rs` and `b/a.rs`", [folder])]), 1)


if __name__ == "__main__":
    unittest.main()
