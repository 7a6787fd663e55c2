//! BEHAVIOURS.md and the names of the tests agree.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const PAGE: &str = include_str!("BEHAVIOURS.md");

/// Where tests are, from this package, which is where cargo runs them.
const FOLDERS: [&str; 4] = [
    "../tests",
    "../benches",
    "../graceful-macros/src",
    "../graceful-runtime/src",
];

#[test]
fn every_number_of_a_test_is_on_the_page() {
    let rows = rows();
    let mut missing = Vec::new();
    for (file, names) in names() {
        for name in &names {
            let Some(number) = number_of(name) else {
                continue;
            };
            let is_named = rows.iter().any(|(row, of, prefix)| {
                row.eq_ignore_ascii_case(number)
                    && *of == file
                    && !prefix.is_empty()
                    && name.starts_with(prefix)
            });
            if !is_named {
                let row = number.to_uppercase();
                missing.push(format!("row {row} lacks `{file}` `{number}_` for {name}"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "in BEHAVIOURS.md\n{}",
        missing.join("\n")
    );
}

#[test]
fn every_test_on_the_page_exists() {
    let names = names();
    let mut gone = Vec::new();
    for (row, file, prefix) in rows() {
        let is_there = names
            .get(file)
            .is_some_and(|names| names.iter().any(|name| name.starts_with(prefix)));
        if !is_there {
            gone.push(format!(
                "row {row}: no test in `{file}` begins with `{prefix}`"
            ));
        }
    }
    assert!(gone.is_empty(), "in BEHAVIOURS.md\n{}", gone.join("\n"));
}

/// Returns what the page says of tests: the first cell of the row, a file, and how a name in it begins.
fn rows() -> Vec<(&'static str, &'static str, &'static str)> {
    let mut found = Vec::new();
    for row in PAGE.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let mut file = "";
        for code in cells[cells.len() - 1].split('`').skip(1).step_by(2) {
            let mut prefix = code;
            if code.ends_with(".rs") {
                (file, prefix) = (code, "");
            }
            found.push((cells[0], file, prefix));
        }
    }
    found
}

/// Returns the names of functions and modules, by the file that they are in, as the page writes it.
fn names() -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut waiting = FOLDERS.map(PathBuf::from).to_vec();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("the workspace can be read");
            waiting.extend(entries.map(|entry| entry.expect("so can its folders").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("source code is text");
            let here = path.strip_prefix("../tests");
            let file = here.or_else(|_| path.strip_prefix("..")).unwrap_or(&path);
            found.insert(file.display().to_string(), names_in(&text));
        }
    }
    found
}

fn names_in(text: &str) -> Vec<String> {
    let words: Vec<_> = text
        .split(|one: char| one != '_' && !one.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let pairs = words.windows(2);
    let declared = pairs.filter(|pair| ["fn", "mod"].contains(&pair[0]));
    declared.map(|pair| pair[1].to_owned()).collect()
}

/// Returns the number with which a name begins, as `c10` of `c10_the_accept_queue_is_served`.
fn number_of(name: &str) -> Option<&str> {
    let (number, _) = name.split_once('_')?;
    let digits = number.strip_prefix(|first: char| first.is_ascii_lowercase())?;
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then_some(number)
}
