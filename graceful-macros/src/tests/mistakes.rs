//! Every mistake, the place that its message points at, and how it reads.

use crate::args::Args;
use crate::entry::Entry;
use crate::errors::Errors;
use crate::validate;

const OPTIONS: &str = "the options are `timeout`, `signals`, `restart`, `start_timeout`, `restart_timeout`, `lame_duck`, \
    `keep_alive_grace`, `pid_file`, `ready`, `flavor`, `worker_threads`, `crate`";
const SIGNALS: &str = "the signals are `HUP`, `INT`, `QUIT`, `USR1`, `USR2`, `ALRM`, `TERM`, `CONT`, `TSTP`, \
    `TTIN`, `TTOU`, `URG`, `XCPU`, `XFSZ`, `VTALRM`, `PROF`, `WINCH`, `IO`";
const FAULT: &str = "leave it out; after a fault nothing can be drained";
const BARE: &str = "a signal is written in capitals, without `SIG`, path or quotes";
const WORKERS: &str = "write `worker_threads = 4`, or leave it out for one on every core";

#[test]
fn good_options_have_no_mistakes() {
    for args in [
        "",
        "timeout = \"5s\",",
        "timeout = \"0s\", lame_duck = \"0s\"",
        "timeout = Duration::from_secs(5), lame_duck = \"1h\"",
        "timeout = LIMIT, restart = [HUP]",
        "timeout = \"10s\", lame_duck = \"9s\"",
        "lame_duck = \"12s\"",
        "signals = [INT, TERM, QUIT, HUP], restart = []",
        "signals = [HUP], restart = [TERM,],",
        "signals = [ALRM, CONT, TSTP, TTIN, TTOU, URG, XCPU, XFSZ, VTALRM, PROF, WINCH, IO, USR1, USR2]",
        "restart_timeout = \"1m30s\", keep_alive_grace = \"200ms\"",
        "pid_file = \"/run/server.pid\"",
        "pid_file = env::temp_dir().join(\"pid\")",
        "ready = manual",
        "flavor = \"current_thread\"",
        "flavor = \"multi_thread\", worker_threads = 4",
        "worker_threads = num_cpus::get()",
        "crate = my::graceful",
        "crate = \"my::graceful\"",
        "crate = crate::graceful",
    ] {
        assert_eq!(of_options(args), [], "{args}");
    }
}

#[test]
fn each_mistake_in_the_options_has_a_place_a_rule_and_a_remedy() {
    for (args, place, rule, remedy) in [
        // The form of an option.
        (
            "timeout",
            "timeout",
            "`timeout` needs a value after `=`",
            "write `timeout = \"25s\"`",
        ),
        (
            "timeout =",
            "timeout",
            "`timeout` needs a value after `=`",
            "write `timeout = \"25s\"`",
        ),
        (
            "flavor(\"x\")",
            "flavor",
            "`flavor` needs a value after `=`",
            "write `flavor = \"current_thread\"`",
        ),
        (
            "signals: [INT]",
            "signals",
            "`signals` needs a value after `=`",
            "write `signals = [INT, TERM]`",
        ),
        (
            "\"5s\"",
            "\"5s\"",
            "expected the name of an option",
            "write `timeout = \"25s\"`",
        ),
        (
            "timeout = \"5s\" flavor = \"multi_thread\"",
            "flavor",
            "expected `,`",
            "put a comma between two options",
        ),
        (
            "timeout = \"5s\"; flavor = \"x\"",
            ";",
            "expected `,`",
            "put a comma between two options",
        ),
        (
            "timeout = \"5s\", timeout = \"6s\"",
            "timeout",
            "`timeout` is given twice",
            "leave one out",
        ),
        (
            "deadline = \"5s\"",
            "deadline",
            "unknown option `deadline`",
            OPTIONS,
        ),
        (
            "start_paused = true",
            "start_paused",
            "unknown option `start_paused`",
            OPTIONS,
        ),
        // Durations; their rules and remedies have a table of their own.
        (
            "timeout = \"\"",
            "\"\"",
            "a duration cannot be empty",
            "write whole numbers with the units h, m, s, ms, as in `\"5s\"` or `\"1m30s\"`",
        ),
        (
            "timeout = 5",
            "5",
            "`5` has no unit",
            "write `\"5s\"` for seconds, `\"5ms\"` for milliseconds",
        ),
        (
            "timeout = 5s",
            "5s",
            "a duration is a string",
            "write `\"5s\"`",
        ),
        (
            "timeout = 1.5",
            "1.5",
            "a duration has no fraction",
            "write whole numbers with the units h, m, s, ms, as in `\"5s\"` or `\"1m30s\"`",
        ),
        (
            "lame_duck = \"1 m\"",
            "\"1 m\"",
            "a duration has no spaces",
            "write `\"1m\"`",
        ),
        (
            "restart_timeout = \"5sec\"",
            "\"5sec\"",
            "unknown unit `sec`",
            "write `\"5s\"`",
        ),
        (
            "keep_alive_grace = \"30s1m\"",
            "\"30s1m\"",
            "units go from large to small, each at most once",
            "write `\"1m30s\"`",
        ),
        // Signals.
        (
            "signals = TERM",
            "TERM",
            "expected a list of signals",
            "write `[INT, TERM]`; for a list known only at run time, use `graceful::Config`",
        ),
        (
            "signals = [INT TERM]",
            "TERM",
            "expected `,` or `;`",
            "write `signals = [INT, TERM]`",
        ),
        (
            "signals = []",
            "signals",
            "without a signal nothing could stop the server from outside",
            "leave the option out for `[INT, TERM]`; `graceful::Config` can go without signals",
        ),
        (
            "signals = [TERM, TERM]",
            "TERM",
            "`TERM` is listed twice",
            "leave one out",
        ),
        (
            "signals = [KILL]",
            "KILL",
            "`KILL` cannot be caught",
            "leave it out; no process is told of it",
        ),
        (
            "signals = [SIGSTOP]",
            "SIGSTOP",
            "`STOP` cannot be caught",
            "leave it out; no process is told of it",
        ),
        (
            "signals = [SEGV]",
            "SEGV",
            "`SEGV` is a fault of the process itself, not a request to it",
            FAULT,
        ),
        (
            "signals = [Signal::Ill]",
            "Signal::Ill",
            "`ILL` is a fault of the process itself, not a request to it",
            FAULT,
        ),
        (
            "restart = [FPE]",
            "FPE",
            "`FPE` is a fault of the process itself, not a request to it",
            FAULT,
        ),
        (
            "restart = [BUS]",
            "BUS",
            "`BUS` is a fault of the process itself, not a request to it",
            FAULT,
        ),
        (
            "restart = [ABRT]",
            "ABRT",
            "`ABRT` is a fault of the process itself, not a request to it",
            FAULT,
        ),
        (
            "restart = [TRAP]",
            "TRAP",
            "`TRAP` is a fault of the process itself, not a request to it",
            FAULT,
        ),
        (
            "restart = [SYS]",
            "SYS",
            "`SYS` is a fault of the process itself, not a request to it",
            FAULT,
        ),
        (
            "restart = [CHLD]",
            "CHLD",
            "`CHLD` only says that a child process has ended",
            "leave it out; the runtime listens to it on its own account",
        ),
        (
            "signals = [PIPE]",
            "PIPE",
            "`PIPE` can come with every connection that its client has closed",
            "leave it out; a client that goes away must not stop the server",
        ),
        (
            "signals = [SIGTERM]",
            "SIGTERM",
            BARE,
            "write `TERM` for `SIGTERM`",
        ),
        ("signals = [term]", "term", BARE, "write `TERM` for `term`"),
        (
            "signals = [\"TERM\"]",
            "\"TERM\"",
            BARE,
            "write `TERM` for `\"TERM\"`",
        ),
        (
            "signals = [graceful::Signal::Term]",
            "graceful::Signal::Term",
            BARE,
            "write `TERM` for `graceful::Signal::Term`",
        ),
        (
            "signals = [TREM]",
            "TREM",
            "unknown signal `TREM`",
            "did you mean `TERM`?",
        ),
        (
            "signals = [TER]",
            "TER",
            "unknown signal `TER`",
            "did you mean `TERM`?",
        ),
        (
            "signals = [USER1]",
            "USER1",
            "unknown signal `USER1`",
            "did you mean `USR1`?",
        ),
        (
            "signals = [SIGHUB]",
            "SIGHUB",
            "unknown signal `SIGHUB`",
            "did you mean `HUP`?",
        ),
        (
            "signals = [RELOAD]",
            "RELOAD",
            "unknown signal `RELOAD`",
            SIGNALS,
        ),
        ("signals = [15]", "15", "unknown signal `15`", SIGNALS),
        // The others.
        (
            "pid_file = \"\"",
            "\"\"",
            "`pid_file` takes a path",
            "write `pid_file = \"/run/server.pid\"`",
        ),
        (
            "pid_file = true",
            "true",
            "`pid_file` takes a path",
            "write `pid_file = \"/run/server.pid\"`",
        ),
        (
            "ready = \"manual\"",
            "\"manual\"",
            "unknown readiness `\"manual\"`",
            "write `ready = manual` and call `graceful::ready()`, or leave it out: ready when the servers accept",
        ),
        (
            "flavor = \"single\"",
            "\"single\"",
            "unknown flavor `\"single\"`",
            "write `\"multi_thread\"` or `\"current_thread\"`, with the quotes",
        ),
        (
            "flavor = current_thread",
            "current_thread",
            "unknown flavor `current_thread`",
            "write `\"multi_thread\"` or `\"current_thread\"`, with the quotes",
        ),
        (
            "worker_threads = 0",
            "0",
            "`worker_threads` takes a number above zero",
            WORKERS,
        ),
        (
            "worker_threads = \"4\"",
            "\"4\"",
            "`worker_threads` takes a number above zero",
            WORKERS,
        ),
        (
            "crate = 5",
            "5",
            "`crate` takes a path",
            "write `crate = my::graceful`",
        ),
        (
            "crate = \"my graceful\"",
            "\"my graceful\"",
            "`crate` takes a path",
            "write `crate = my::graceful`",
        ),
        // Two options that do not go together.
        (
            "timeout = \"5s\", lame_duck = \"5s\"",
            "lame_duck",
            "`lame_duck` leaves no time to drain in the timeout of 5s",
            "write at most half of it, `lame_duck = \"2s500ms\"`",
        ),
        (
            "lame_duck = \"1m\"",
            "lame_duck",
            "`lame_duck` leaves no time to drain in the timeout of 25s",
            "write at most half of it, `lame_duck = \"12s500ms\"`",
        ),
        (
            "signals = [HUP, TERM], restart = [HUP]",
            "HUP",
            "`HUP` cannot both shut down and restart",
            "leave it out of `signals` or of `restart`",
        ),
        (
            "restart = [TERM]",
            "TERM",
            "`TERM` cannot both shut down and restart",
            "`signals` is `[INT, TERM]` unless given; choose another, such as `HUP`",
        ),
        (
            "flavor = \"current_thread\", worker_threads = 2",
            "worker_threads",
            "the `current_thread` flavor has no worker threads",
            "leave out `worker_threads` or `flavor`",
        ),
    ] {
        assert_eq!(of_options(args), [mistake(place, rule, remedy)], "{args}");
    }
}

#[test]
fn a_near_miss_is_suggested_before_all_options() {
    for (written, meant) in [
        ("timout", "timeout"),
        ("signal", "signals"),
        ("lameduck", "lame_duck"),
        ("keepalive_grace", "keep_alive_grace"),
        ("worker_thread", "worker_threads"),
        ("flavour", "flavor"),
        ("pidfile", "pid_file"),
        ("Timeout", "timeout"),
    ] {
        let rule = format!("unknown option `{written}`");
        let remedy = format!("did you mean `{meant}`? {}", OPTIONS.replacen('t', "T", 1));
        assert_eq!(
            of_options(&format!("{written} = 1")),
            [mistake(written, &rule, &remedy)]
        );
    }
}

#[test]
fn each_mistake_in_the_function_has_a_place_a_rule_and_a_remedy() {
    for (item, place, rule, remedy) in [
        (
            "fn main() {}",
            "fn main",
            "`main` must be async",
            "write `async fn main`; if you did, an attribute above has taken the `async`, as \
             `#[tokio::main]` does: leave that one out",
        ),
        (
            "pub fn start() {}",
            "fn start",
            "`start` must be async",
            "write `async fn start`; if you did, an attribute above has taken the `async`, as \
             `#[tokio::main]` does: leave that one out",
        ),
        (
            "async unsafe fn main() {}",
            "unsafe",
            "`main` cannot be `unsafe`",
            "write `async fn main` alone",
        ),
        (
            "async extern \"C\" fn main() {}",
            "extern \"C\"",
            "`main` cannot be `extern \"C\"`",
            "write `async fn main` alone",
        ),
        (
            "async fn main<T>() {}",
            "<T>",
            "`main` cannot be generic",
            "write `async fn main()`, without type parameters",
        ),
        (
            "async fn main(args: Vec<String>) {}",
            "args: Vec<String>",
            "`main` cannot take arguments",
            "leave them out; `std::env::args()` has the command line",
        ),
        (
            "#[tokio::main(flavor = \"x\")] async fn main() {}",
            "#[tokio::main(flavor = \"x\")]",
            "`#[tokio::main]` starts a runtime as well",
            "leave it out; `#[graceful::main]` starts a tokio runtime",
        ),
        (
            "struct Main;",
            "struct",
            "`#[graceful::main]` belongs on a function",
            "write it above `async fn main() { … }`",
        ),
        (
            "async fn main();",
            ";",
            "`#[graceful::main]` belongs on a function",
            "write it above `async fn main() { … }`",
        ),
    ] {
        assert_eq!(of_function(item), [mistake(place, rule, remedy)], "{item}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let args = "timeout = 5, timout = \"5s\", signals = [TREM, KILL, TERM], restart = [HUP HUP], lame_duck, \
        timeout = \"1x\", flavor = \"current_thread\" worker_threads = 0, = 3, crate = my::graceful, \
        pid_file = if, keep_alive_grace = ";
    let places: Vec<_> = of_options(args)
        .into_iter()
        .map(|(place, _)| place)
        .collect();
    assert_eq!(
        places,
        [
            "5",
            "timout",
            "TREM",
            "KILL",
            "HUP",
            "lame_duck",
            "\"1x\"",
            "timeout",
            "worker_threads",
            "0",
            "=",
            ",",
            "keep_alive_grace",
            "worker_threads",
        ]
    );
}

#[test]
fn an_unreadable_value_is_no_second_mistake() {
    // Neither the default timeout nor the default signals stand in for a value that could not be read.
    assert_eq!(of_options("timeout = \"5\", lame_duck = \"1m\"").len(), 1);
    assert_eq!(of_options("signals = [TREM], restart = [TERM]").len(), 1);
    assert_eq!(of_options("signals = [TREM]").len(), 1);
}

#[test]
fn a_half_typed_body_is_left_alone() {
    for body in [
        "{ let s = String::new(); s. }",
        "{ let x = ; match y }",
        "{ #![allow(unused)] a b c => }",
    ] {
        let item = format!("async fn main() -> io::Result<impl Server> {body}");
        assert_eq!(of_function(&item), []);
        for args in ["", "timeout = 5"] {
            let expanded = crate::lower(args.parse().unwrap(), item.parse().unwrap()).to_string();
            let body = body
                .parse::<proc_macro2::TokenStream>()
                .unwrap()
                .to_string();
            assert!(expanded.contains(&body), "{expanded}");
        }
    }
}

#[test]
fn an_item_that_is_no_function_is_left_as_it_came() {
    let expanded = crate::lower(
        "timeout = 5".parse().unwrap(),
        "struct Main;".parse().unwrap(),
    );
    let expanded: syn::File = syn::parse2(expanded).unwrap();
    assert!(matches!(
        expanded.items[..],
        [
            syn::Item::Macro(_),
            syn::Item::Macro(_),
            syn::Item::Struct(_)
        ]
    ));
}

fn of_options(args: &str) -> Vec<(String, String)> {
    let mut errors = Errors::default();
    let args = Args::parse(args.parse().unwrap(), &mut errors);
    validate::options(args, &mut errors);
    places_and_messages(errors)
}

fn of_function(item: &str) -> Vec<(String, String)> {
    let mut errors = Errors::default();
    if let Some(entry) = Entry::read(item.parse().unwrap(), &mut errors) {
        validate::function(&entry, &mut errors);
    }
    places_and_messages(errors)
}

fn places_and_messages(errors: Errors) -> Vec<(String, String)> {
    let pair = |error: syn::Error| (error.span().source_text().unwrap(), error.to_string());
    errors.into_iter().map(pair).collect()
}

fn mistake(place: &str, rule: &str, remedy: &str) -> (String, String) {
    (place.to_owned(), format!("{rule}\nhelp: {remedy}"))
}
