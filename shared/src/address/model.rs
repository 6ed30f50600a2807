//! A postal address, and how one is read from a body.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::phone;
use crate::platform::{http::Members, problem::FieldError};

/// Most characters of a recipient, a city or a region.
const MOST_NAME: usize = 100;

/// Most characters of a line.
const MOST_LINE: usize = 200;

/// Most characters of a postal code.
const MOST_POSTAL_CODE: usize = 20;

/// The officially assigned codes of ISO 3166-1 alpha-2. <https://www.iso.org/obp/ui/#search/code/>
const COUNTRIES: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN \
    BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ \
    DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL \
    GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM \
    JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME \
    MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP \
    NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD \
    SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO \
    TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW";

/// Where something is sent to. Formatting one for a log shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Address {
    /// Who receives it.
    #[schema(min_length = 1, max_length = 100, example = "Jane Tan")]
    pub recipient: String,
    /// Street and number.
    #[schema(min_length = 1, max_length = 200, example = "1 Raffles Place")]
    pub line1: String,
    /// Floor, unit, building.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200, example = "#20-01")]
    pub line2: Option<String>,
    /// City or town.
    #[schema(min_length = 1, max_length = 100, example = "Singapore")]
    pub city: String,
    /// State, province or county.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100)]
    pub region: Option<String>,
    /// Postal code, as written in its country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 20, example = "048616")]
    pub postal_code: Option<String>,
    /// Country, ISO 3166-1 alpha-2 in upper case.
    #[schema(min_length = 2, max_length = 2, example = "SG")]
    pub country: String,
    /// Phone number of the recipient; taken in any common form, kept in E.164.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 40, example = "+6561234567")]
    pub phone: Option<String>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address([redacted])")
    }
}

/// Whether `code` is an officially assigned country code, in upper case.
#[must_use]
pub fn is_country(code: &str) -> bool {
    code.len() == 2 && COUNTRIES.split(' ').any(|country| country == code)
}

/// Reads an address from `body`, which stands at the JSON Pointer `pointer`.
///
/// # Errors
///
/// Every fault of its members, unknown ones among them.
pub fn parse(body: &Value, pointer: &str) -> Result<Address, Vec<FieldError>> {
    let mut members = Members::of(body, pointer)?;
    let address = read(&mut members);
    members.finish(address)
}

/// Takes an address out of an object that has other members too; `None` after a fault.
pub fn read(members: &mut Members<'_>) -> Option<Address> {
    let recipient = members.required_text("recipient", MOST_NAME);
    let line1 = members.required_text("line1", MOST_LINE);
    let line2 = members.text("line2", MOST_LINE);
    let city = members.required_text("city", MOST_NAME);
    let region = members.text("region", MOST_NAME);
    let postal_code = members.text("postal_code", MOST_POSTAL_CODE);
    let country = country(members);
    let phone = read_phone(members, country.as_deref());
    Some(Address {
        recipient: recipient?,
        line1: line1?,
        line2,
        city: city?,
        region,
        postal_code,
        country: country?,
        phone,
    })
}

fn country(members: &mut Members<'_>) -> Option<String> {
    let value = members.required_value("country")?;
    let country = value.as_str().filter(|code| is_country(code));
    if country.is_none() {
        let detail = "country must be an ISO 3166-1 alpha-2 code in upper case";
        members.refuse("country", "invalid-value", detail);
    }
    country.map(str::to_owned)
}

/// Takes the member `phone`, a number in national form being of `country`.
pub fn read_phone(members: &mut Members<'_>, country: Option<&str>) -> Option<String> {
    let value = members.value("phone")?;
    let phone = value.as_str().and_then(|text| phone::e164(text, country));
    if phone.is_none() {
        let detail =
            "phone must be a phone number, with its country code if it is of another country";
        members.refuse("phone", "invalid-value", detail);
    }
    phone
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn faults(body: &Value) -> Vec<(String, String)> {
        let told = |error: FieldError| (error.pointer, error.code.into_owned());
        let errors = parse(body, "/shipping_address").unwrap_err();
        errors.into_iter().map(told).collect()
    }

    fn full() -> Value {
        json!({"recipient": " Jane Tan ", "line1": "1 Raffles Place", "line2": "#20-01", "city": "Singapore",
            "region": "Central", "postal_code": "048616", "country": "SG", "phone": "6123 4567"})
    }

    #[test]
    fn an_address_is_trimmed_and_its_phone_number_in_e164() {
        let address = parse(&full(), "").unwrap();
        assert_eq!(address.recipient, "Jane Tan");
        assert_eq!(address.phone.as_deref(), Some("+6561234567"));
        assert_eq!(
            parse(&serde_json::to_value(&address).unwrap(), "").unwrap(),
            address
        );
    }

    #[test]
    fn what_is_not_said_is_not_shown() {
        let body = json!({"recipient": "J", "line1": "1", "city": "S", "country": "SG"});
        let address = parse(&body, "").unwrap();
        assert_eq!(serde_json::to_value(address).unwrap(), body);
    }

    #[test]
    fn every_bad_member_is_named_at_once() {
        let body = json!({"line1": "", "line2": "a\nb", "city": 5, "region": "x".repeat(101),
            "postal_code": "x".repeat(21), "country": "sg", "phone": "12", "zip": "1"});
        let expected = [
            ("recipient", "missing-field"),
            ("line1", "invalid-value"),
            ("line2", "invalid-value"),
            ("city", "invalid-value"),
            ("region", "invalid-value"),
            ("postal_code", "invalid-value"),
            ("country", "invalid-value"),
            ("phone", "invalid-value"),
            ("zip", "unknown-field"),
        ]
        .map(|(member, code)| (format!("/shipping_address/{member}"), code.to_owned()));
        assert_eq!(faults(&body), expected);
        let whole = ("/shipping_address".to_owned(), "invalid-value".to_owned());
        assert_eq!(faults(&json!("1 Raffles Place")), [whole]);
    }

    #[test]
    fn limits_are_met_exactly_and_counted_in_characters() {
        let mut body = full();
        for (member, most) in [
            ("recipient", 100),
            ("line1", 200),
            ("line2", 200),
            ("city", 100),
            ("region", 100),
            ("postal_code", 20),
        ] {
            body[member] = "ä".repeat(most).into();
        }
        assert!(parse(&body, "").is_ok());
        body["line1"] = "ä".repeat(201).into();
        assert_eq!(parse(&body, "").unwrap_err().len(), 1);
    }

    #[test]
    fn countries_are_those_of_the_standard() {
        assert_eq!(
            COUNTRIES.split(' ').filter(|code| is_country(code)).count(),
            249
        );
        for code in ["XK", "AC", "AN", "UK", "sg", "", " ", "SG "] {
            assert!(!is_country(code), "{code}");
        }
    }

    #[test]
    fn a_formatted_address_shows_nothing() {
        let shown = format!("{:?}", parse(&full(), "").unwrap());
        assert_eq!(shown, "Address([redacted])");
    }

    proptest! {
        #[test]
        fn what_is_taken_is_taken_again_as_it_is(
            recipient in "\\PC{1,110}", line1 in ".{0,20}", phone in proptest::option::of("[+]?[0-9 ]{6,15}")
        ) {
            let body = json!({"recipient": recipient, "line1": line1, "city": "S", "country": "SG", "phone": phone});
            if let Ok(address) = parse(&body, "") {
                let stored = serde_json::to_value(&address).unwrap();
                prop_assert_eq!(parse(&stored, "").unwrap(), address);
            }
        }
    }
}
