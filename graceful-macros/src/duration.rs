//! Durations: `"1m30s"` is read at compile time, any other expression is left to the compiler.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Expr, ExprLit, Lit};

use crate::errors::Errors;

/// The value of an option that takes a duration.
pub(crate) enum DurationValue {
    /// A literal, whose value is known here.
    Known(Duration),
    /// An expression, whose type and value only the compiler knows.
    Computed(TokenStream),
}

impl ToTokens for DurationValue {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Known(duration) => {
                let (secs, nanos) = (duration.as_secs(), duration.subsec_nanos());
                tokens.extend(quote!(::core::time::Duration::new(#secs, #nanos)));
            }
            Self::Computed(expr) => tokens.extend(expr.clone()),
        }
    }
}

/// Reads the value of an option that takes a duration.
pub(crate) fn read(value: Expr, errors: &mut Errors) -> Option<DurationValue> {
    let Expr::Lit(ExprLit { lit, .. }) = &value else {
        return Some(DurationValue::Computed(value.into_token_stream()));
    };
    let (written, is_string) = match lit {
        Lit::Str(string) => (string.value(), true),
        other => (other.to_token_stream().to_string(), false),
    };
    match parse(&written) {
        Ok(duration) if is_string => return Some(DurationValue::Known(duration)),
        Ok(_) => errors.add(
            lit,
            "a duration is a string",
            format!("write `\"{written}\"`"),
        ),
        Err(rule) => errors.add(lit, rule, remedy(&written)),
    }
    None
}

/// The units and their length in milliseconds, in the order in which they must be written.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration such as `1m30s`, or returns the rule that `written` breaks.
fn parse(written: &str) -> Result<Duration, String> {
    if written.is_empty() {
        return Err("a duration cannot be empty".into());
    }
    if written.contains(char::is_whitespace) {
        return Err("a duration has no spaces".into());
    }
    let mut units = UNITS.iter();
    let mut total = 0_u64;
    for (number, unit) in Parts(written) {
        if number.is_empty() {
            return Err(format!("`{written}` is not a duration"));
        }
        if number.contains('.') {
            return Err("a duration has no fraction".into());
        }
        if unit.is_empty() {
            return Err(format!("`{number}` has no unit"));
        }
        if UNITS.iter().all(|(name, _)| *name != unit) {
            return Err(format!("unknown unit `{unit}`"));
        }
        // `find` uses up the larger units and this one: none of them may follow.
        let Some((_, millis)) = units.find(|(name, _)| *name == unit) else {
            return Err("units go from large to small, each at most once".into());
        };
        total = number
            .parse()
            .ok()
            .and_then(|number: u64| number.checked_mul(*millis))
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| format!("`{written}` is too long"))?;
    }
    Ok(Duration::from_millis(total))
}

/// Says what to write instead of `written`, which is not a duration.
fn remedy(written: &str) -> String {
    if !written.is_empty() && written.chars().all(|c| c.is_ascii_digit()) {
        return format!("write `\"{written}s\"` for seconds, `\"{written}ms\"` for milliseconds");
    }
    match guess(written) {
        Some(millis) => format!("write `\"{}\"`", spell(millis)),
        None => {
            "write whole numbers with the units h, m, s, ms, as in `\"5s\"` or `\"1m30s\"`".into()
        }
    }
}

/// Reads `written` as leniently as a person would, and returns the milliseconds it means.
fn guess(written: &str) -> Option<u64> {
    let written = written.to_lowercase();
    let mut total = 0.0;
    for (number, unit) in Parts(&written) {
        let unit = match unit.trim() {
            "d" | "day" | "days" => 86_400_000.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000.0,
            "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => 1.0,
            _ => return None,
        };
        total += number.trim().parse::<f64>().ok()? * unit;
    }
    // Beyond a year, or below a millisecond, the guess would be as odd as what was written.
    (1.0..=3.2e10)
        .contains(&total)
        .then_some(total.round() as u64)
}

/// Writes `millis` as a duration is written.
pub(crate) fn spell(mut millis: u64) -> String {
    if millis == 0 {
        return "0s".into();
    }
    let mut spelled = String::new();
    for (name, length) in UNITS {
        if millis >= length {
            spelled += &format!("{}{name}", millis / length);
            millis %= length;
        }
    }
    spelled
}

/// Splits `1m30s` into `("1", "m")` and `("30", "s")`, without judging either half.
struct Parts<'a>(&'a str);

impl<'a> Iterator for Parts<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        if self.0.is_empty() {
            return None;
        }
        let unit_starts = self.0.find(|c| !is_number(c)).unwrap_or(self.0.len());
        let (number, rest) = self.0.split_at(unit_starts);
        let unit_ends = rest.find(is_number).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(unit_ends);
        self.0 = rest;
        Some((number, unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (written, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("5s", 5_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("1h1m1s1ms", 3_661_001),
            ("90m", 5_400_000),
            ("007s", 7_000),
        ] {
            assert_eq!(
                parse(written),
                Ok(Duration::from_millis(millis)),
                "{written}"
            );
        }
    }

    #[test]
    fn mistakes_break_a_rule_and_have_a_remedy() {
        const GENERIC: &str =
            "write whole numbers with the units h, m, s, ms, as in `\"5s\"` or `\"1m30s\"`";
        const ORDER: &str = "units go from large to small, each at most once";
        for (written, rule, help) in [
            ("", "a duration cannot be empty", GENERIC),
            (
                "5",
                "`5` has no unit",
                "write `\"5s\"` for seconds, `\"5ms\"` for milliseconds",
            ),
            ("1m30", "`30` has no unit", GENERIC),
            ("5 s", "a duration has no spaces", "write `\"5s\"`"),
            ("1m 30s", "a duration has no spaces", "write `\"1m30s\"`"),
            (" ", "a duration has no spaces", GENERIC),
            ("5sec", "unknown unit `sec`", "write `\"5s\"`"),
            ("5S", "unknown unit `S`", "write `\"5s\"`"),
            ("1hour30minutes", "unknown unit `hour`", "write `\"1h30m\"`"),
            ("2d", "unknown unit `d`", "write `\"48h\"`"),
            ("5us", "unknown unit `us`", GENERIC),
            ("5µs", "unknown unit `µs`", GENERIC),
            ("1.5s", "a duration has no fraction", "write `\"1s500ms\"`"),
            ("0.5h", "a duration has no fraction", "write `\"30m\"`"),
            ("0.0001ms", "a duration has no fraction", GENERIC),
            ("1.2.3s", "a duration has no fraction", GENERIC),
            ("30s1m", ORDER, "write `\"1m30s\"`"),
            ("1s1s", ORDER, "write `\"2s\"`"),
            ("s", "`s` is not a duration", GENERIC),
            ("-5s", "`-5s` is not a duration", GENERIC),
            ("never", "`never` is not a duration", GENERIC),
            (
                "99999999999999999999s",
                "`99999999999999999999s` is too long",
                GENERIC,
            ),
            (
                "18446744073709551615s",
                "`18446744073709551615s` is too long",
                GENERIC,
            ),
        ] {
            assert_eq!(parse(written), Err(rule.to_owned()), "{written}");
            assert_eq!(remedy(written), help, "{written}");
        }
    }
}
