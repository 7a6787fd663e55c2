//! The mistakes in one use of the attribute, kept until all of them are known.

use std::fmt::Display;

use proc_macro2::Span;
use quote::ToTokens;

/// Collects every mistake, so that one compile reports them all.
#[derive(Default)]
pub(crate) struct Errors(Vec<syn::Error>);

impl Errors {
    /// Adds a mistake made in `tokens`: the rule it breaks, and what to write instead.
    pub(crate) fn add(&mut self, tokens: impl ToTokens, rule: impl Display, remedy: impl Display) {
        self.0
            .push(syn::Error::new_spanned(tokens, message(rule, remedy)));
    }

    /// Adds a mistake at a place that has no tokens of its own, such as where one is missing.
    pub(crate) fn add_at(&mut self, place: Span, rule: impl Display, remedy: impl Display) {
        self.0.push(syn::Error::new(place, message(rule, remedy)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Errors {
    type Item = syn::Error;
    type IntoIter = std::vec::IntoIter<syn::Error>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Returns the candidate that `written` was probably meant to be.
pub(crate) fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let (distance, candidate) = candidates
        .into_iter()
        .map(|candidate| (distance(written, candidate), candidate))
        .min()?;
    // More than one slip in three letters is another word.
    (distance * 3 <= written.len()).then_some(candidate)
}

/// Returns `items` as they appear in a message: each in backticks, with commas between them.
pub(crate) fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = items.into_iter().map(|item| format!("`{item}`")).collect();
    quoted.join(", ")
}

fn message(rule: impl Display, remedy: impl Display) -> String {
    format!("{rule}\nhelp: {remedy}")
}

/// Counts the slips between two words: a letter added, left out, replaced, or swapped.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i][j] = match (i, j) {
                (0, _) => j,
                (_, 0) => i,
                _ => {
                    let replaced = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let slips = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    if swapped {
                        slips.min(table[i - 2][j - 2] + 1)
                    } else {
                        slips
                    }
                }
            };
        }
    }
    table[a.len()][b.len()]
}
