//! The attribute takes any tokens without a panic, and what it makes of them is a program.

#![no_main]
#![allow(dead_code, reason = "the very files of the macro; a target needs a part of them")]

#[path = "../../graceful-macros/src/args.rs"]
mod args;
#[path = "../../graceful-macros/src/duration.rs"]
mod duration;
#[path = "../../graceful-macros/src/entry.rs"]
mod entry;
#[path = "../../graceful-macros/src/errors.rs"]
mod errors;
#[path = "../../graceful-macros/src/expand.rs"]
mod expand;
#[path = "../../graceful-macros/src/literal.rs"]
mod literal;
#[path = "../../graceful-macros/src/recover.rs"]
mod recover;
#[path = "../../graceful-macros/src/signal.rs"]
mod signal;
#[path = "../../graceful-macros/src/validate.rs"]
mod validate;

use args::Args;
use entry::Entry;
use errors::Errors;
use libfuzzer_sys::fuzz_target;
use proc_macro2::TokenStream;

fuzz_target!(|text: &str| {
    let Ok(tokens) = text.parse::<TokenStream>() else {
        return;
    };
    let item = "async fn main() -> std::io::Result<()> { serve().await }";
    let mut errors = Errors::default();
    let plan = validate::options(Args::parse(tokens, &mut errors), &mut errors);
    let item = item.parse().expect("it is a function");
    let entry = Entry::read(item, &mut errors).expect("it is a function");
    let program = match errors.is_empty() {
        true => expand::main(entry, &plan),
        false => recover::main(errors, entry, &plan),
    };
    if let Err(error) = syn::parse2::<syn::File>(program.clone()) {
        panic!("{error}: {program}");
    }
});
