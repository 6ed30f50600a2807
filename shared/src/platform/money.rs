//! Money: an exact decimal and its currency. Nothing here ever becomes a float.

use std::fmt;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A currency in use, by its ISO 4217 code.
///
/// Source: ISO 4217 list one, <https://www.six-group.com/en/products-services/financial-information/data-standards.html>;
/// codes without a minor unit (metals, test and bond-market codes) cannot be paid with and are left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

/// Codes by the number of decimals of their minor unit. Each list is sorted.
const CODES: [(u8, &str); 4] = [
    (
        0,
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    ),
    (
        2,
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD \
         CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP \
         GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK \
         LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO \
         NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS \
         SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST \
         XAD XCD XCG YER ZAR ZMW ZWG",
    ),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
    (4, "CLF UYW"),
];

/// Why an amount, a currency or a sum of money cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not the code of a currency in use.
    #[error("unknown currency code")]
    UnknownCurrency,
    /// Not a decimal of at most 15 digits before and 10 after the point.
    #[error("amount must be a decimal with at most 15 digits before and 10 after the point")]
    InvalidAmount,
    /// Two currencies cannot be added up.
    #[error("cannot combine {0} with {1}")]
    CurrencyMismatch(Currency, Currency),
    /// The exact result has more digits than money can have.
    #[error("amount is out of range")]
    OutOfRange,
}

impl Currency {
    /// Singapore dollar.
    pub const SGD: Self = Self(*b"SGD");

    /// Decimals of the minor unit: 2 for SGD, 0 for JPY, 3 for KWD.
    #[must_use]
    pub fn decimals(self) -> u32 {
        decimals(self.0).unwrap_or(0).into()
    }

    /// The three-letter code.
    #[must_use]
    pub fn code(&self) -> &str {
        // Built from ASCII codes only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn decimals(code: [u8; 3]) -> Option<u8> {
    CODES
        .iter()
        .find(|(_, codes)| codes.as_bytes().chunks(4).any(|known| known[..3] == code))
        .map(|(decimals, _)| *decimals)
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let code: [u8; 3] = text
            .as_bytes()
            .try_into()
            .map_err(|_| MoneyError::UnknownCurrency)?;
        decimals(code).ok_or(MoneyError::UnknownCurrency)?;
        Ok(Self(code))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        code.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount in a currency, with every digit it came with. Equal means equal in value: `1.5` is
/// `1.50`. In JSON: `{"amount":"34.88","currency":"SGD"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    amount: Decimal,
    currency: Currency,
}

impl Money {
    /// No money.
    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        Self {
            amount: Decimal::ZERO,
            currency,
        }
    }

    /// Reads a plain decimal such as `-34.880`: no plus sign, exponent, separators or blanks.
    ///
    /// # Errors
    /// [`MoneyError::InvalidAmount`] for anything else.
    pub fn parse(amount: &str, currency: Currency) -> Result<Self, MoneyError> {
        let amount = parse_decimal(amount)?;
        Ok(Self { amount, currency })
    }

    /// The amount.
    #[must_use]
    pub const fn amount(&self) -> Decimal {
        self.amount
    }

    /// The currency.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    /// The exact sum.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`], or [`MoneyError::OutOfRange`] when the sum has too many digits.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch(self.currency, other.currency));
        }
        let scale = self.amount.scale().max(other.amount.scale());
        let sum = scaled(self.amount, scale)
            .zip(scaled(other.amount, scale))
            .and_then(|(a, b)| a.checked_add(b));
        self.with_mantissa(sum, scale)
    }

    /// The exact difference.
    ///
    /// # Errors
    /// As [`checked_add`](Self::checked_add).
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.checked_add(Self {
            amount: -other.amount,
            ..other
        })
    }

    /// The exact product with `factor` (a quantity or a tax rate); round it to get a price.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`] when the product has too many digits.
    pub fn checked_mul(self, factor: Decimal) -> Result<Self, MoneyError> {
        let product = self.amount.mantissa().checked_mul(factor.mantissa());
        self.with_mantissa(product, self.amount.scale() + factor.scale())
    }

    /// `part` of the `whole` equal parts of the amount, [rounded](Self::rounded).
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`] when a product on the way has too many digits, or `whole` is zero.
    pub fn share(self, part: u32, whole: u32) -> Result<Self, MoneyError> {
        let product = self.checked_mul(part.into())?;
        // The quotient has 28 digits: enough for no rounding before the last one to show.
        let amount = product.amount.checked_div(whole.into());
        let amount = amount.ok_or(MoneyError::OutOfRange)?;
        Ok(Self { amount, ..product }.rounded())
    }

    /// The amount rounded half-up to the minor unit, a half going away from zero: `0.125` SGD is
    /// `0.13`, `-0.125` is `-0.13`. An amount with fewer decimals is filled up: `34.5` is `34.50`.
    #[must_use]
    pub fn rounded(self) -> Self {
        let decimals = self.currency.decimals();
        let mut amount = self
            .amount
            .round_dp_with_strategy(decimals, RoundingStrategy::MidpointAwayFromZero);
        amount.rescale(decimals);
        Self { amount, ..self }
    }

    fn with_mantissa(self, mantissa: Option<i128>, scale: u32) -> Result<Self, MoneyError> {
        let amount = mantissa
            .and_then(|mantissa| Decimal::try_from_i128_with_scale(mantissa, scale).ok())
            .ok_or(MoneyError::OutOfRange)?;
        Ok(Self { amount, ..self })
    }
}

fn scaled(amount: Decimal, scale: u32) -> Option<i128> {
    10_i128
        .checked_pow(scale - amount.scale())
        .and_then(|power| amount.mantissa().checked_mul(power))
}

fn parse_decimal(text: &str) -> Result<Decimal, MoneyError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !(1..=15).contains(&whole.len())
        || !(1..=10).contains(&fraction.len())
        || !all_digits(whole)
        || !all_digits(fraction)
    {
        return Err(MoneyError::InvalidAmount);
    }
    let mut decimal: Decimal = text.parse().map_err(|_| MoneyError::InvalidAmount)?;
    if decimal.is_zero() {
        decimal.set_sign_positive(true);
    }
    Ok(decimal)
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Money)]
struct MoneyJson {
    /// A decimal.
    #[schema(example = "34.88")]
    amount: String,
    /// An ISO 4217 code.
    #[schema(example = "SGD")]
    currency: String,
}

impl utoipa::PartialSchema for Money {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        MoneyJson::schema()
    }
}

impl utoipa::ToSchema for Money {
    fn name() -> std::borrow::Cow<'static, str> {
        MoneyJson::name()
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        MoneyJson {
            amount: self.amount.to_string(),
            currency: self.currency.to_string(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = MoneyJson::deserialize(deserializer)?;
        json.currency
            .parse()
            .and_then(|currency| Self::parse(&json.amount, currency))
            .map_err(serde::de::Error::custom)
    }
}

/// A decimal as a bare JSON number with exactly its digits, for answers whose form is given.
///
/// It goes into JSON text as it is. Turning it into a [`serde_json::Value`] first would make it a
/// float: serialize the answer's own type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonNumber(pub Decimal);

impl FromStr for JsonNumber {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        parse_decimal(text).map(Self)
    }
}

impl Serialize for JsonNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.to_string())
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sgd(amount: &str) -> Money {
        Money::parse(amount, Currency::SGD).unwrap()
    }

    #[test]
    fn the_currency_table_is_well_formed() {
        let mut all = Vec::new();
        for (_, codes) in CODES {
            let list: Vec<&str> = codes.split(' ').collect();
            assert!(list.is_sorted() && list.iter().all(|code| code.len() == 3));
            all.extend(list);
        }
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
        for (code, decimals) in [("SGD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("EUR", 2)] {
            assert_eq!(code.parse::<Currency>().unwrap().decimals(), decimals);
        }
        for code in ["", "sgd", "XAU", "XXX", "DEM", "SGDX", "S D"] {
            assert_eq!(code.parse::<Currency>(), Err(MoneyError::UnknownCurrency));
        }
    }

    #[test]
    fn a_half_is_rounded_away_from_zero() {
        for (amount, rounded) in [
            ("0.125", "0.13"),
            ("-0.125", "-0.13"),
            ("0.1249999999", "0.12"),
            ("34.5", "34.50"),
            ("7", "7.00"),
        ] {
            assert_eq!(sgd(amount).rounded().amount().to_string(), rounded);
        }
        let yen = Money::parse("10.5", "JPY".parse().unwrap()).unwrap();
        assert_eq!(yen.rounded().to_string(), "11 JPY");
    }

    #[test]
    fn only_plain_decimals_are_amounts() {
        for wrong in [
            "",
            "-",
            ".5",
            "5.",
            "+5",
            "1e3",
            "1,000",
            " 1",
            "1 ",
            "NaN",
            "1.2.3",
            "--1",
            "٣",
            "1234567890123456",
            "0.12345678901",
        ] {
            let parsed = Money::parse(wrong, Currency::SGD);
            assert_eq!(parsed, Err(MoneyError::InvalidAmount), "{wrong}");
        }
        assert_eq!(sgd("-0.00").amount().to_string(), "0.00");
    }

    #[test]
    fn different_currencies_do_not_add_up() {
        let euro = Money::parse("1", "EUR".parse().unwrap()).unwrap();
        assert!(matches!(
            sgd("1").checked_add(euro),
            Err(MoneyError::CurrencyMismatch(..))
        ));
    }

    #[test]
    fn what_cannot_be_exact_is_refused() {
        let tiny = sgd("999999999999999.9999999999");
        let product = tiny.checked_mul("0.123456789012".parse().unwrap());
        assert_eq!(product, Err(MoneyError::OutOfRange));
    }

    #[test]
    fn json_is_a_decimal_string_or_an_exact_number() {
        let text = r#"{"amount":"34.880","currency":"SGD"}"#;
        let money: Money = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&money).unwrap(), text);
        assert!(serde_json::from_str::<Money>(r#"{"amount":34.88,"currency":"SGD"}"#).is_err());
        for number in [
            "5069.044",
            "64508.628",
            "-0.10",
            "0",
            "123456789012345.6789",
        ] {
            let exact: JsonNumber = number.parse().unwrap();
            assert_eq!(serde_json::to_string(&exact).unwrap(), number);
        }
    }

    proptest! {
        #[test]
        fn every_amount_round_trips(amount in "-?[1-9][0-9]{0,14}(\\.[0-9]{1,10})?") {
            prop_assert_eq!(sgd(&amount).amount().to_string(), amount);
        }

        #[test]
        fn sums_are_exact_and_can_be_undone(a in -1_000_000_000_i64..1_000_000_000, b: i32, i in 0_u32..10, j in 0_u32..10) {
            let money = |mantissa: i64, scale| sgd(&Decimal::new(mantissa, scale).to_string());
            let (a, b) = (money(a, i), money(b.into(), j));
            let sum = a.checked_add(b).unwrap();
            prop_assert_eq!(sum.amount(), a.amount() + b.amount());
            prop_assert_eq!(sum.checked_sub(b).unwrap(), a);
        }

        #[test]
        fn products_are_exact(a in -1_000_000_000_i64..1_000_000_000, quantity in -10_000_i64..10_000) {
            let product = sgd(&Decimal::new(a, 3).to_string()).checked_mul(quantity.into()).unwrap();
            prop_assert_eq!(product.amount().mantissa(), i128::from(a) * i128::from(quantity));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = Money::parse(&text, Currency::SGD);
        }
    }
}
