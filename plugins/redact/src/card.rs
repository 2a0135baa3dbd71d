//! Numbers of payment cards in texts.

use std::borrow::Cow;

/// Finds card numbers in groups of digits, which one space or hyphen divides. One begins and ends
/// where a group does. Where two overlap, both are found: one of them may only look like one.
pub fn find(text: &[u8], mut found: impl FnMut(usize, usize)) {
    const MOST: usize = 19;
    const FEWEST: usize = 12;
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let mut start = 0;
    while let Some(step) = text[start..].iter().position(u8::is_ascii_digit) {
        start += step;
        // The longest that begins here, if it begins as those of cards do (ISO/IEC 7812).
        let (mut count, mut longest) = (0, None);
        let mut sum = Luhn::default();
        let begins = (b'2'..=b'6').contains(&text[start]);
        for end in start + 1..=if begins { text.len() } else { start } {
            let byte = text[end - 1];
            if !byte.is_ascii_digit() {
                let divides = b" -".contains(&byte) && is_digit(end - 2);
                if !divides {
                    break;
                }
                continue;
            }
            sum.add(count, byte - b'0');
            count += 1;
            if count > MOST {
                break;
            }
            if count >= FEWEST && !is_digit(end) && sum.is_right(count) {
                longest = Some(end);
            }
        }
        if let Some(end) = longest.filter(|end| !is_other(text, start, *end)) {
            found(start, end);
        }
        // On to the next group.
        while is_digit(start) {
            start += 1;
        }
    }
}

/// Whether digits are a part of a number with a fraction, or of a hexadecimal one such as a UUID.
fn is_other(text: &[u8], start: usize, end: usize) -> bool {
    let (before, behind) = (&text[..start], &text[end..]);
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let is_fraction = before.ends_with(b".") && digit(before.get(before.len().wrapping_sub(2)));
    let has_fraction = behind.starts_with(b".") && digit(behind.get(1));
    // As far as a UUID has characters.
    const AROUND: usize = 36;
    let is_of_word = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'-';
    let before = before.iter().rev().take(AROUND).take_while(is_of_word);
    let around = before.chain(behind.iter().take(AROUND).take_while(is_of_word));
    let mut has_letter = false;
    let is_hex = around.fold(true, |is_hex, byte| {
        has_letter |= byte.is_ascii_alphabetic();
        is_hex && (byte.is_ascii_hexdigit() || *byte == b'-')
    }) && has_letter;
    is_fraction || has_fraction || is_hex
}

/// The form that all ways to write a number have in common: its digits.
pub fn same(number: &[u8]) -> Cow<'_, [u8]> {
    number.iter().copied().filter(u8::is_ascii_digit).collect()
}

/// The algorithm of Luhn, from the first digit on: every second digit counts twice, counted from
/// the last one. So there is a sum for each of the two places where that may begin.
#[derive(Default)]
struct Luhn {
    /// Those with an even and with an odd index counted twice.
    sums: [u32; 2],
}

impl Luhn {
    fn add(&mut self, index: usize, digit: u8) {
        let digit = u32::from(digit);
        let twice = if digit > 4 { digit * 2 - 9 } else { digit * 2 };
        self.sums[index % 2] += twice;
        self.sums[(index + 1) % 2] += digit;
    }

    /// Whether the check digit of a number of so many digits is right.
    fn is_right(&self, count: usize) -> bool {
        self.sums[count % 2].is_multiple_of(10)
    }
}
