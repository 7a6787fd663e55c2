//! Tokens in, mistakes or an expansion out.

mod expand;
mod mistakes;
