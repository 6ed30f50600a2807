//! Any text is a date or none, an amount or none, money or none; what is taken is what `jiff` and
//! `rust_decimal` make of it, and is read the same once written.

use jiff::civil::Date;
use rust_decimal::Decimal;
use shared::{
    platform::money::{Currency, Money},
    sales::model::{Amount, AmountError, YEARS, parse_date},
};

fn date(text: &str) {
    let parsed = parse_date(text);
    if let Ok(date) = parsed {
        assert!(YEARS.contains(&date.year()));
        assert_eq!(parse_date(&date.to_string()), Ok(date));
        for format in ["%-m/%-d/%Y", "%m/%d/%Y"] {
            assert_eq!(parse_date(&date.strftime(format).to_string()), Ok(date));
        }
        let other = if text.contains('/') {
            Date::strptime("%m/%d/%Y", text)
        } else {
            text.parse()
        };
        assert_eq!(other.expect("what is a date here is one to others"), date);
    }
    // What everybody writes must be taken.
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let iso: Vec<&str> = text.split('-').collect();
    let is_iso =
        iso.iter().map(|part| part.len()).eq([4, 2, 2]) && iso.iter().all(|part| digits(part));
    if is_iso && let Ok(other) = text.parse::<Date>() {
        assert_eq!(
            parsed.ok(),
            Some(other).filter(|date| YEARS.contains(&date.year()))
        );
    }
}

/// Whether `text` is digits, with a sign before and up to `places` decimals behind.
fn is_plain(text: &str, places: usize) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.strip_prefix('-').unwrap_or(text);
    match number.split_once('.') {
        Some((whole, decimals)) => digits(whole) && digits(decimals) && decimals.len() <= places,
        None => digits(number),
    }
}

fn amount(text: &str) {
    let parsed = Amount::parse(text);
    let exact = |amount: Amount| Decimal::new(amount.units(), Amount::DECIMALS);
    if let Ok(amount) = parsed {
        assert_eq!(Amount::parse(&amount.to_string()), Ok(amount));
        let plain = text.replace(',', "");
        let plain = plain.strip_prefix('+').unwrap_or(&plain);
        if let Ok(other) = Decimal::from_str_exact(plain) {
            assert_eq!(exact(amount), other);
        }
        let written: Decimal = amount.to_string().parse().expect("an amount is a decimal");
        assert_eq!(written, exact(amount));
    }
    if is_plain(text, 5)
        && let Ok(other) = Decimal::from_str_exact(text)
    {
        let fits = exact(Amount::MIN) <= other && other <= exact(Amount::MAX);
        let wanted = fits.then_some(other).ok_or(AmountError::OutOfRange);
        assert_eq!(parsed.map(exact), wanted);
    }
}

fn money(text: &str) {
    let currency: Currency = "SGD".parse().expect("SGD is a currency");
    let Ok(money) = Money::parse(text, currency) else {
        return;
    };
    let other = Decimal::from_str_exact(text).expect("what is money is a decimal");
    assert_eq!(money.amount(), other);
    let json = serde_json::to_string(&money).expect("money is JSON");
    let again: Money = serde_json::from_str(&json).expect("what was written can be read");
    assert_eq!(again, money);
    assert!(money.rounded().amount().scale() <= currency.decimals());
}

/// Tries an input.
///
/// # Panics
///
/// When what the module says does not hold.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    date(text);
    amount(text);
    money(text);
}
