use std::os::unix::fs::symlink;

use super::*;

/// A directory of its own for one test, removed afterwards.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = env::temp_dir().join(format!("graceful-program-{test}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_name_with_a_slash_is_looked_for_in_the_directory() {
    let directory = Directory::new("slash");
    let server = directory.file("bin/server", 0o755);
    let look = |name: &str| find(name.as_ref(), Some(&directory.0), None);
    assert_eq!(look("bin/server"), Some(server.clone()));
    assert_eq!(look("./bin/server"), Some(directory.0.join("./bin/server")));
    assert_eq!(look(server.to_str().unwrap()), Some(server));
    assert_eq!(look("bin/missing"), None);
}

#[test]
fn a_bare_name_is_looked_for_in_the_path_and_may_not_be_a_directory_or_a_text() {
    let directory = Directory::new("bare");
    directory.file("a/server", 0o644);
    directory.file("b/server/x", 0o755);
    let server = directory.file("c/server", 0o755);
    directory.file("d/server", 0o755);
    let look = |name: &str| find(name.as_ref(), Some(&directory.0), Some("a:b:c:d".as_ref()));
    assert_eq!(look("server"), Some(server));
    assert_eq!(look("x"), None);
    assert_eq!(look(""), None);
    assert_eq!(find("server".as_ref(), Some(&directory.0), None), None);
}

#[test]
fn a_link_keeps_its_name() {
    let directory = Directory::new("link");
    directory.file("releases/1/server", 0o755);
    let current = directory.0.join("current");
    symlink("releases/1", &current).unwrap();
    let found = find("current/server".as_ref(), Some(&directory.0), None);
    assert_eq!(found, Some(current.join("server")));
}

#[test]
fn this_process_can_be_found() {
    let program = Program::of_this_process();
    assert!(program.path().is_absolute(), "{program:?}");
    assert!(is_executable(program.path()), "{program:?}");
}

#[test]
fn a_file_that_cannot_be_run_is_an_error_for_a_child_and_for_an_orphan() {
    let directory = Directory::new("error");
    let text = directory.file("text", 0o644);
    let missing = directory.0.join("missing");
    let cases = [
        (missing, io::ErrorKind::NotFound),
        (text, io::ErrorKind::PermissionDenied),
    ];
    for (path, kind) in cases {
        let program = Program {
            path,
            ..Program::new("", &["x"])
        };
        for parentage in [Parentage::Child, Parentage::Orphan] {
            let stdin = File::open("/dev/null").unwrap();
            let error = program.start(parentage, stdin.into(), &[]).unwrap_err();
            assert_eq!(error.kind(), kind);
        }
    }
}

#[test]
fn a_child_has_a_status_and_an_orphan_none() {
    let program = Program::new("/bin/sh", &["sh", "-c", "exit 3"]);
    let start = |parentage| {
        let stdin = File::open("/dev/null").unwrap();
        program.start(parentage, stdin.into(), &[]).unwrap()
    };
    let Wait::Exited(status) = start(Parentage::Child).wait(Duration::from_secs(60)) else {
        panic!("no status")
    };
    assert_eq!(status.code(), Some(3));
    assert_eq!(
        start(Parentage::Orphan).wait(Duration::from_secs(60)),
        Wait::Unknown
    );
}

#[test]
fn a_process_that_hangs_is_killed() {
    let program = Program::new("/bin/sleep", &["sleep", "600"]);
    for parentage in [Parentage::Child, Parentage::Orphan] {
        let stdin = File::open("/dev/null").unwrap();
        let mut hung = program.start(parentage, stdin.into(), &[]).unwrap();
        assert_eq!(hung.wait(Duration::ZERO), Wait::Running);
        let end = hung.end().unwrap().try_clone_to_owned().unwrap();
        hung.kill();
        let limit = timespec(Duration::from_secs(60));
        assert_eq!(
            poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&limit)),
            Ok(1)
        );
    }
}
