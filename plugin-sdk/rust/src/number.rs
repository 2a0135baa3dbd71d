//! Numbers in texts.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A decimal number. A whole number of up to 127 bits stays exact.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Number {
    /// A whole number.
    Whole(i128),
    /// Any other one; finite.
    Real(f64),
}

impl Number {
    /// Reads a decimal number, with a fraction and an exponent if need be: `-1.5e3`. Neither
    /// infinity nor NaN is one, and spaces are no part of it.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        if let Ok(whole) = text.parse() {
            return Some(Self::Whole(whole));
        }
        let is_decimal = |c: u8| c.is_ascii_digit() || b"+-.eE".contains(&c);
        let number: f64 = text.bytes().all(is_decimal).then(|| text.parse().ok())??;
        number.is_finite().then_some(Self::Real(number))
    }

    /// The nearest double.
    pub fn real(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }

    /// Compares two numbers; whole ones without rounding.
    pub fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => a.cmp(&b),
            // Both are finite; -0 is 0.
            (a, b) => a.real().partial_cmp(&b.real()).unwrap_or(Ordering::Equal),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Real(real) => real.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_decimal_and_finite() {
        let written = |text: &str| Number::parse(text.as_bytes()).map(|number| number.to_string());
        for (text, number) in [
            ("0", "0"),
            ("-12", "-12"),
            ("+5", "5"),
            ("1.50", "1.5"),
            (".5", "0.5"),
            ("1e3", "1000"),
            ("170141183460469231731687303715884105727", "170141183460469231731687303715884105727"),
        ] {
            assert_eq!(written(text).as_deref(), Some(number));
        }
        for text in ["", " 1", "1 ", "1,5", "0x10", "inf", "NaN", "1e999", "1e", "--1", "é"] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_compared_without_rounding() {
        let number = |text: &str| Number::parse(text.as_bytes()).unwrap();
        assert!(number("9007199254740993").compare(number("9007199254740992")).is_gt());
        assert!(number("9.5").compare(number("10")).is_lt());
        assert!(number("1.0").compare(number("1")).is_eq());
        assert!(number("-0.0").compare(number("0")).is_eq());
    }
}
