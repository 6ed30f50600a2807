//! Tax rates by tax class and region.

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// A share of a price that is tax: 0 to 1, with at most six decimals; `0.16` is 16 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaxRate(Decimal);

/// A text that is no tax rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a decimal from 0 to 1 with at most six decimals")]
pub struct InvalidTaxRate;

impl TaxRate {
    /// The rate as a decimal.
    #[must_use]
    pub const fn decimal(self) -> Decimal {
        self.0
    }
}

impl FromStr for TaxRate {
    type Err = InvalidTaxRate;

    fn from_str(text: &str) -> Result<Self, InvalidTaxRate> {
        let rate: Decimal = text.parse().map_err(|_| InvalidTaxRate)?;
        let is_share = rate >= Decimal::ZERO && rate <= Decimal::ONE;
        if is_share && rate.scale() <= 6 {
            Ok(Self(rate))
        } else {
            Err(InvalidTaxRate)
        }
    }
}

impl TryFrom<String> for TaxRate {
    type Error = InvalidTaxRate;

    fn try_from(text: String) -> Result<Self, InvalidTaxRate> {
        text.parse()
    }
}

impl From<TaxRate> for String {
    fn from(rate: TaxRate) -> Self {
        rate.to_string()
    }
}

impl Display for TaxRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

/// Most characters of a tax class, a region or a country in the table.
const MOST_WORD: usize = 100;

/// Which rate applies to which tax class where.
///
/// Read from JSON: `{"default":"0.16","rates":[{"class":"reduced","country":"SG","rate":"0.09"},
/// {"class":"standard","country":"US","region":"California","rate":"0.0725"}]}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaxTable {
    default: TaxRate,
    rates: Vec<ClassRate>,
}

/// The rate of one tax class in a country, or in a region of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassRate {
    class: String,
    country: String,
    #[serde(default)]
    region: Option<String>,
    rate: TaxRate,
}

/// A text that is no table of tax rates.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTaxTable {
    /// Not of the form.
    #[error("table of tax rates cannot be read")]
    Form(#[from] serde_json::Error),
    /// A word is empty or too long, or the country is not two capital letters.
    #[error("tax rate {at} names no class, country and region")]
    Word {
        /// Which rate, from 0.
        at: usize,
    },
    /// Two rates are for the same class in the same place.
    #[error("tax rate {at} is there twice")]
    Repeated {
        /// Which rate, from 0.
        at: usize,
    },
}

impl TaxTable {
    /// The same rate for everything everywhere.
    #[must_use]
    pub const fn flat(default: TaxRate) -> Self {
        Self {
            default,
            rates: Vec::new(),
        }
    }

    /// The rate of `class` in a place: its region's, or else its country's, or else the default.
    /// Regions compare without regard to ASCII case.
    #[must_use]
    pub fn rate(&self, class: &str, country: &str, region: Option<&str>) -> TaxRate {
        let of = |region| {
            let mut rates = self.rates.iter();
            rates.find(|rate| rate.is_for(class, country, region))
        };
        let regional = region.and_then(|region| of(Some(region)));
        let found = regional.or_else(|| of(None));
        found.map_or(self.default, |found| found.rate)
    }
}

impl ClassRate {
    fn is_for(&self, class: &str, country: &str, region: Option<&str>) -> bool {
        let is_region = match (&self.region, region) {
            (Some(own), Some(other)) => own.eq_ignore_ascii_case(other),
            (own, other) => own.is_none() && other.is_none(),
        };
        is_region && self.class == class && self.country == country
    }

    fn is_named(&self) -> bool {
        let mut words = [&self.class].into_iter().chain(&self.region);
        let is_country =
            self.country.len() == 2 && self.country.bytes().all(|byte| byte.is_ascii_uppercase());
        is_country && words.all(|word| (1..=MOST_WORD).contains(&word.chars().count()))
    }
}

impl FromStr for TaxTable {
    type Err = InvalidTaxTable;

    fn from_str(text: &str) -> Result<Self, InvalidTaxTable> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Form {
            default: TaxRate,
            #[serde(default)]
            rates: Vec<ClassRate>,
        }
        let Form { default, rates } = serde_json::from_str(text)?;
        for (at, rate) in rates.iter().enumerate() {
            if !rate.is_named() {
                return Err(InvalidTaxTable::Word { at });
            }
            let mut earlier = rates.iter().take(at);
            let region = rate.region.as_deref();
            if earlier.any(|other| other.is_for(&rate.class, &rate.country, region)) {
                return Err(InvalidTaxTable::Repeated { at });
            }
        }
        Ok(Self { default, rates })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TaxTable {
        let text = r#"{"default": "0.16", "rates": [
            {"class": "reduced", "country": "SG", "region": null, "rate": "0.09"},
            {"class": "reduced", "country": "US", "region": "California", "rate": "0.0725"},
            {"class": "exempt", "country": "SG", "rate": "0"}]}"#;
        text.parse().unwrap()
    }

    #[test]
    fn the_narrowest_rate_applies_and_the_default_elsewhere() {
        for (class, country, region, rate) in [
            ("reduced", "SG", None, "0.09"),
            ("reduced", "SG", Some("Central"), "0.09"),
            ("reduced", "US", Some("california"), "0.0725"),
            ("reduced", "US", Some("Nevada"), "0.16"),
            ("reduced", "US", None, "0.16"),
            ("exempt", "SG", None, "0"),
            ("standard", "SG", None, "0.16"),
            ("Reduced", "SG", None, "0.16"),
        ] {
            let found = table().rate(class, country, region);
            assert_eq!(found, rate.parse().unwrap(), "{class} {country} {region:?}");
        }
    }

    #[test]
    fn a_table_that_could_be_misread_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"default": 0.16}"#,
            r#"{"default": "1.01"}"#,
            r#"{"default": "-0.1"}"#,
            r#"{"default": "0.1234567"}"#,
            r#"{"default": "0.16", "rate": []}"#,
            r#"{"default": "0.16", "rates": [{"class": "", "country": "SG", "rate": "0.1"}]}"#,
            r#"{"default": "0.16", "rates": [{"class": "a", "country": "sg", "rate": "0.1"}]}"#,
            r#"{"default": "0.16", "rates": [{"class": "a", "country": "SG", "region": "", "rate": "0.1"}]}"#,
            r#"{"default": "0.16", "rates": [{"class": "a", "country": "SG", "rate": "0.1"},
                {"class": "a", "country": "SG", "rate": "0.1"}]}"#,
        ] {
            assert!(text.parse::<TaxTable>().is_err(), "{text}");
        }
    }
}
