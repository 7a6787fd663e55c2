//! Literals among the values of options.

use syn::{Expr, ExprLit, Lit, LitStr};

/// Returns the string literal that `value` is.
pub(crate) fn string(value: &Expr) -> Option<&LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(string),
            ..
        }) => Some(string),
        _ => None,
    }
}
