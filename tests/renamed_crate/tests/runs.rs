//! The renamed dependency not only compiles.

use std::process::Command;

#[test]
fn program_with_a_renamed_dependency_runs() {
    let status = Command::new(env!("CARGO_BIN_EXE_graceful-renamed-crate"))
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}
