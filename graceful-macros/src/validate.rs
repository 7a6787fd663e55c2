//! The rules across options, and for the function.

use std::time::Duration;

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote};
use syn::{Attribute, Expr, Path, Signature, parse_quote};

use crate::args::{Args, Flavor, Manual, Slot};
use crate::duration::{self, DurationValue};
use crate::entry::{self, Entry};
use crate::errors::Errors;
use crate::signal::Signal;

/// What is to be emitted: every setting holds on its own and beside the others.
pub(crate) struct Plan {
    /// The path to the runtime crate.
    pub(crate) krate: Path,
    pub(crate) settings: Vec<Setting>,
}

/// A call of one of `Config`'s methods, placed where the option is written.
pub(crate) struct Setting {
    pub(crate) method: Ident,
    pub(crate) argument: TokenStream,
}

/// The defaults of the runtime that an option can be in conflict with.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(25);
const SIGNALS_DEFAULT: [&str; 2] = ["INT", "TERM"];

/// Checks the options and makes a plan of those that were read.
pub(crate) fn options(args: Args, errors: &mut Errors) -> Plan {
    lame_duck_within_timeout(&args.lame_duck, &args.timeout, errors);
    signals_can_stop_it(&args.signals, errors);
    restart_signals_are_free(&args.restart, &args.signals, errors);
    flavor_has_workers(&args.flavor, &args.worker_threads, errors);

    let krate = args.krate.value.unwrap_or_else(|| parse_quote!(::graceful));
    let signal_list = |signals: Vec<Signal>| {
        let variants = signals.iter().map(Signal::variant);
        quote!([#(#krate::Signal::#variants),*])
    };
    let settings = [
        setting(args.timeout, DurationValue::into_token_stream),
        setting(args.signals, signal_list),
        setting(args.restart, signal_list),
        setting(args.start_timeout, DurationValue::into_token_stream),
        setting(args.restart_timeout, DurationValue::into_token_stream),
        setting(args.lame_duck, DurationValue::into_token_stream),
        setting(args.keep_alive_grace, DurationValue::into_token_stream),
        setting(args.pid_file, ToTokens::into_token_stream),
        readiness(args.ready),
        runtime(args.flavor),
        setting(args.worker_threads, ToTokens::into_token_stream),
    ];
    let settings = settings.into_iter().flatten().collect();
    Plan { krate, settings }
}

fn setting<T>(slot: Slot<T>, argument: impl FnOnce(T) -> TokenStream) -> Option<Setting> {
    Some(Setting {
        method: slot.key?,
        argument: argument(slot.value?),
    })
}

fn readiness(ready: Slot<Manual>) -> Option<Setting> {
    let Manual = ready.value?;
    Some(Setting {
        method: Ident::new("manual_ready", ready.key?.span()),
        argument: TokenStream::new(),
    })
}

fn runtime(flavor: Slot<Flavor>) -> Option<Setting> {
    match flavor.value? {
        Flavor::CurrentThread => {
            let method = Ident::new("current_thread", flavor.key?.span());
            Some(Setting {
                method,
                argument: TokenStream::new(),
            })
        }
        // The default.
        Flavor::MultiThread => None,
    }
}

/// Checks that the function is a plain `async fn` without arguments.
pub(crate) fn function(entry: &Entry, errors: &mut Errors) {
    function_is_async(&entry.signature, errors);
    function_is_plain(&entry.signature, errors);
    function_is_callable(&entry.signature, errors);
    one_runtime_starts(&entry.attrs, errors);
}

fn lame_duck_within_timeout(
    lame_duck: &Slot<DurationValue>,
    timeout: &Slot<DurationValue>,
    errors: &mut Errors,
) {
    let timeout = match (&timeout.key, &timeout.value) {
        (None, _) => TIMEOUT_DEFAULT,
        (_, Some(DurationValue::Known(timeout))) => *timeout,
        _ => return,
    };
    let Some(DurationValue::Known(span)) = lame_duck.value else {
        return;
    };
    if !span.is_zero() && span >= timeout {
        let spell = |duration: Duration| duration::spell(duration.as_millis() as u64);
        let rule = format!(
            "`lame_duck` leaves no time to drain in the timeout of {}",
            spell(timeout)
        );
        let remedy = format!(
            "write at most half of it, `lame_duck = \"{}\"`",
            spell(timeout / 2)
        );
        errors.add(&lame_duck.key, rule, remedy);
    }
}

fn signals_can_stop_it(signals: &Slot<Vec<Signal>>, errors: &mut Errors) {
    if signals.value.as_ref().is_some_and(Vec::is_empty) {
        let rule = "without a signal nothing could stop the server from outside";
        let remedy =
            "leave the option out for `[INT, TERM]`; `graceful::Config` can go without signals";
        errors.add(&signals.key, rule, remedy);
    }
}

fn restart_signals_are_free(
    restart: &Slot<Vec<Signal>>,
    signals: &Slot<Vec<Signal>>,
    errors: &mut Errors,
) {
    let taken: Vec<_> = match signals.key {
        None => SIGNALS_DEFAULT.to_vec(),
        Some(_) => signals
            .value
            .iter()
            .flatten()
            .map(|signal| signal.name)
            .collect(),
    };
    for Signal { name, place } in restart.value.iter().flatten() {
        if taken.contains(name) {
            let rule = format!("`{name}` cannot both shut down and restart");
            let remedy = match signals.key {
                None => "`signals` is `[INT, TERM]` unless given; choose another, such as `HUP`",
                Some(_) => "leave it out of `signals` or of `restart`",
            };
            errors.add(place, rule, remedy);
        }
    }
}

fn flavor_has_workers(flavor: &Slot<Flavor>, workers: &Slot<Expr>, errors: &mut Errors) {
    if let (Some(Flavor::CurrentThread), Some(key)) = (&flavor.value, &workers.key) {
        let remedy = "leave out `worker_threads` or `flavor`";
        errors.add(
            key,
            "the `current_thread` flavor has no worker threads",
            remedy,
        );
    }
}

fn function_is_async(signature: &Signature, errors: &mut Errors) {
    let Signature {
        asyncness,
        fn_token,
        ident,
        ..
    } = signature;
    if asyncness.is_none() {
        let rule = format!("`{ident}` must be async");
        let remedy = format!(
            "write `async fn {ident}`; if you did, an attribute above has taken the `async`, as \
             `#[tokio::main]` does: leave that one out"
        );
        errors.add(quote!(#fn_token #ident), rule, remedy);
    }
}

fn function_is_plain(signature: &Signature, errors: &mut Errors) {
    let Signature {
        constness,
        safety,
        abi,
        ident,
        ..
    } = signature;
    for qualifier in [quote!(#constness), quote!(#safety), quote!(#abi)] {
        if !qualifier.is_empty() {
            let rule = format!("`{ident}` cannot be `{qualifier}`");
            errors.add(qualifier, rule, format!("write `async fn {ident}` alone"));
        }
    }
}

fn function_is_callable(signature: &Signature, errors: &mut Errors) {
    let Signature {
        generics,
        inputs,
        ident,
        ..
    } = signature;
    if !generics.params.is_empty() {
        let rule = format!("`{ident}` cannot be generic");
        errors.add(
            generics,
            rule,
            format!("write `async fn {ident}()`, without type parameters"),
        );
    }
    if !inputs.is_empty() {
        let rule = format!("`{ident}` cannot take arguments");
        errors.add(
            inputs,
            rule,
            "leave them out; `std::env::args()` has the command line",
        );
    }
}

fn one_runtime_starts(attrs: &[Attribute], errors: &mut Errors) {
    for attr in attrs.iter().filter(|attr| entry::starts_runtime(attr)) {
        let path = attr.path().to_token_stream().to_string().replace(' ', "");
        let rule = format!("`#[{path}]` starts a runtime as well");
        errors.add(
            attr,
            rule,
            "leave it out; `#[graceful::main]` starts a tokio runtime",
        );
    }
}
