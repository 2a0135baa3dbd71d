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
        // The longest that begins here.
        let (mut count, mut longest) = (0, None);
        for end in start + 1..=text.len() {
            if !is_digit(end - 1) {
                let divides = b" -".contains(&text[end - 1]) && is_digit(end - 2);
                if !divides {
                    break;
                }
                continue;
            }
            count += 1;
            if count > MOST {
                break;
            }
            if count >= FEWEST && !is_digit(end) && is_card(&text[start..end]) {
                longest = Some(end);
            }
        }
        if let Some(end) = longest {
            found(start, end);
        }
        // On to the next group.
        while is_digit(start) {
            start += 1;
        }
    }
}

/// The form that all ways to write a number have in common: its digits.
pub fn same(number: &[u8]) -> Cow<'_, [u8]> {
    number.iter().copied().filter(u8::is_ascii_digit).collect()
}

/// Whether a number begins as those of cards do (ISO/IEC 7812), and its check digit is right: the
/// algorithm of Luhn.
fn is_card(digits: &[u8]) -> bool {
    let mut digits = digits.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0');
    let sum: u32 = (digits.clone().rev().enumerate())
        .map(|(place, digit)| match (place % 2, u32::from(digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    digits.next().is_some_and(|first| (2..=6).contains(&first)) && sum.is_multiple_of(10)
}
