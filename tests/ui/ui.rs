//! What is right compiles and runs; each mistake is explained where it is.
//!
//! One mistake a file, named for it. `TRYBUILD=overwrite cargo test -p graceful-ui-tests`
//! writes the `.stderr` files anew; read the difference before you commit it.

use std::process::Command;

/// Other compilers word their own part of the messages differently.
const WORDED_BY: &str = "rustc 1.95.";

#[test]
fn good_programs_run_and_mistakes_are_explained() {
    let cases = trybuild::TestCases::new();
    cases.pass("pass/*.rs");
    if rustc_version().starts_with(WORDED_BY) {
        cases.compile_fail("fail/*.rs");
    }
}

fn rustc_version() -> String {
    let output = Command::new("rustc")
        .arg("--version")
        .output()
        .expect("rustc is there");
    String::from_utf8(output.stdout).expect("a version is UTF-8")
}
