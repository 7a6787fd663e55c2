//! The expansions of `tests/expand/*.rs`, pretty-printed, against the files beside them.
//!
//! `UPDATE_EXPECT=1 cargo test -p graceful-macros` writes them anew; read the difference before
//! you commit it.

use std::path::Path;
use std::{env, fs};

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Attribute, File, Item, Meta};

use crate::lower;

#[test]
fn every_option() {
    check("every_option");
}

#[test]
fn no_option() {
    check("no_option");
}

#[test]
fn computed_values() {
    check("computed_values");
}

#[test]
fn return_types() {
    check("return_types");
}

#[test]
fn attributes() {
    check("attributes");
}

#[test]
fn mistakes() {
    check("mistakes");
}

#[test]
fn not_callable() {
    check("not_callable");
}

fn check(name: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expand");
    let written = fs::read_to_string(directory.join(format!("{name}.rs"))).unwrap();
    let expanded = prettyplease::unparse(&expand(syn::parse_str(&written).unwrap()));

    let expected_file = directory.join(format!("{name}.expanded.rs"));
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(expected_file, expanded).unwrap();
    } else {
        let expected = fs::read_to_string(expected_file).unwrap_or_default();
        assert!(
            expanded == expected,
            "`{name}.rs` expands to something else than `{name}.expanded.rs`; \
             UPDATE_EXPECT=1 accepts it:\n{expanded}"
        );
    }
}

/// Expands the functions that carry the attribute, as the compiler would.
fn expand(file: File) -> File {
    let items: TokenStream = file
        .items
        .into_iter()
        .map(|item| match item {
            Item::Fn(mut function) => {
                let attr = function.attrs.remove(0);
                lower(arguments(attr), function.into_token_stream())
            }
            other => other.into_token_stream(),
        })
        .collect();
    syn::parse2(items).unwrap()
}

fn arguments(attr: Attribute) -> TokenStream {
    assert_eq!(
        attr.path().to_token_stream().to_string(),
        "graceful :: main"
    );
    match attr.meta {
        Meta::List(list) => list.tokens,
        _ => TokenStream::new(),
    }
}
