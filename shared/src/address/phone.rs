//! Phone numbers, in the one form in which they are kept: E.164, such as `+6561234567`.

use phonenumber::{Mode, country};

/// Most characters of a number as a person writes it.
const MOST_WRITTEN: usize = 40;

/// The number `written`, in E.164; one in national form is of `country` (ISO 3166-1 alpha-2).
/// `None` for what no numbering plan has, and for anything but digits, spaces and `+ - . ( ) /`:
/// extensions and letters are not part of E.164.
///
/// The first call of a process unpacks the numbering plans, which takes 66 ms of a processor; nothing
/// else pays for them.
#[must_use]
pub fn e164(written: &str, country: Option<&str>) -> Option<String> {
    let allowed = |byte: u8| {
        byte.is_ascii_digit() || matches!(byte, b' ' | b'+' | b'-' | b'.' | b'(' | b')' | b'/')
    };
    if written.len() > MOST_WRITTEN || !written.bytes().all(allowed) {
        return None;
    }
    let country: Option<country::Id> = country.and_then(|country| country.parse().ok());
    let number = phonenumber::parse(country, written).ok()?;
    (number.is_valid() && number.extension().is_none())
        .then(|| number.format().mode(Mode::E164).to_string())
}

/// Whether `text` has the form of E.164: `+`, then 2 to 15 digits of which the first is not 0.
#[must_use]
pub fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (2..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0')
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_in_national_and_international_form_become_one() {
        for (written, country, expected) in [
            ("6123 4567", Some("SG"), Some("+6561234567")),
            ("+65 6123-4567", Some("DE"), Some("+6561234567")),
            ("030 / 901820", Some("DE"), Some("+4930901820")),
            ("(0)30 901820", Some("DE"), Some("+4930901820")),
            ("+49 30 901820", None, Some("+4930901820")),
            ("(212) 555-2368", Some("US"), Some("+12125552368")),
            ("02 1234 5678", Some("IT"), Some("+390212345678")),
            ("+47 22 86 44 00", Some("AQ"), Some("+4722864400")),
            ("6123 4567", None, None),
            ("6123 4567", Some("AQ"), None),
            ("123", Some("SG"), None),
            ("+65 6123 4567 ext. 8", Some("SG"), None),
            ("1-800-FLOWERS", Some("US"), None),
            ("+999 123 456 789", None, None),
            ("", Some("SG"), None),
        ] {
            assert_eq!(e164(written, country).as_deref(), expected, "{written}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_number_that_stays_as_it_is_or_none(
            written in "[+0-9 ().;=a-z/-]{0,41}|[+][1-9][0-9]{6,14}", country in "[A-Z]{2}"
        ) {
            if let Some(number) = e164(&written, Some(&country)) {
                prop_assert!(is_e164(&number), "{}", number);
                prop_assert_eq!(e164(&number, None), Some(number.clone()));
            }
        }
    }
}
