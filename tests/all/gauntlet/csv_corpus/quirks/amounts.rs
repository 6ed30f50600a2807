//! Amounts as people and programs write them.

use super::super::draft::{Line, PAID, QUANTITY, good, plain};
use super::{ENCODING, OPTIONAL, Quirk, bad_cell, good_cell, line, quirk};

/// Texts that are amounts, and how much they are.
const AMOUNTS: [(&str, &str, &str); 24] = [
    ("amount of thousands", "1,288.50", "1288.50"),
    ("amount of millions", "12,345,678", "12345678"),
    ("amount without decimals", "34", "34"),
    ("amount of one decimal", "34.8", "34.8"),
    ("amount of three decimals", "0.654", "0.654"),
    ("amount of four decimals", "0.6543", "0.6543"),
    ("amount of five decimals", "0.00001", "0.00001"),
    ("amount of nothing", "0", "0"),
    ("amount of nothing with decimals", "0.00", "0"),
    ("amount of minus nothing", "-0", "0"),
    ("amount below nothing", "-34.88", "-34.88"),
    ("amount below minus a thousand", "-1,288.50", "-1288.50"),
    ("amount with a plus", "+34.88", "34.88"),
    ("amount without a whole", ".5", "0.5"),
    ("amount below nothing without a whole", "-.5", "-0.5"),
    ("amount with leading zeros", "0034.88", "34.88"),
    (
        "amount with very many leading zeros",
        "000000000000000000000000000034.88",
        "34.88",
    ),
    ("amount between spaces", "  34.88  ", "34.88"),
    ("amount between tabs", "\t34.88\t", "34.88"),
    (
        "largest amount",
        "92233720368547.75807",
        "92233720368547.75807",
    ),
    (
        "smallest amount",
        "-92233720368547.75808",
        "-92233720368547.75808",
    ),
    (
        "large amount in thousands",
        "92,233,720,368,547.75807",
        "92233720368547.75807",
    ),
    (
        "amount that no double holds",
        "9007199254740.99301",
        "9007199254740.99301",
    ),
    ("amount that tenths of a double miss", "0.1", "0.1"),
];

/// Texts that are not.
const WRONG: [(&str, &str, &str); 38] = [
    ("amount of six decimals", "0.654321", "too-many-decimals"),
    (
        "amount of six decimals, zeros",
        "34.880000",
        "too-many-decimals",
    ),
    (
        "amount above the largest",
        "92233720368547.75808",
        "number-out-of-range",
    ),
    (
        "amount below the smallest",
        "-92233720368547.75809",
        "number-out-of-range",
    ),
    (
        "amount of twenty digits",
        "99999999999999999999",
        "number-out-of-range",
    ),
    (
        "amount of forty digits",
        "1234567890123456789012345678901234567890",
        "number-out-of-range",
    ),
    ("amount in parentheses", "(34.88)", "invalid-number"),
    ("amount with a dollar", "$34.88", "invalid-number"),
    (
        "amount with a currency behind",
        "34.88 SGD",
        "invalid-number",
    ),
    (
        "amount with a currency before",
        "SGD34.88",
        "invalid-number",
    ),
    ("amount with a per cent", "34.88%", "invalid-number"),
    ("amount with an exponent", "3.488e1", "invalid-number"),
    ("amount with a capital exponent", "1E5", "invalid-number"),
    ("amount in hexadecimal", "0x22", "invalid-number"),
    ("amount NaN", "NaN", "invalid-number"),
    ("amount Infinity", "Infinity", "invalid-number"),
    ("amount inf", "-inf", "invalid-number"),
    ("amount null", "null", "invalid-number"),
    ("amount with a decimal comma", "34,88", "invalid-number"),
    (
        "amount with a decimal comma that looks like thousands",
        "0,123",
        "invalid-number",
    ),
    (
        "amount with dots for thousands",
        "1.288,50",
        "invalid-number",
    ),
    ("amount with groups of two", "12,34,567", "invalid-number"),
    ("amount with an empty group", "1,,288", "invalid-number"),
    ("amount that begins with a comma", ",288", "invalid-number"),
    ("amount that ends with a comma", "1,288,", "invalid-number"),
    (
        "amount with a comma behind the point",
        "1.288,500",
        "invalid-number",
    ),
    (
        "amount with a blank for thousands",
        "1 288.50",
        "invalid-number",
    ),
    (
        "amount with an apostrophe for thousands",
        "1'288.50",
        "invalid-number",
    ),
    ("amount with an underscore", "1_288", "invalid-number"),
    ("amount that ends in a point", "34.", "invalid-number"),
    ("amount of two points", "34.8.8", "invalid-number"),
    ("amount of two signs", "--34.88", "invalid-number"),
    ("amount with its sign behind", "34.88-", "invalid-number"),
    (
        "amount with a blank behind its sign",
        "- 34.88",
        "invalid-number",
    ),
    ("amount of a sign alone", "-", "invalid-number"),
    ("amount of a point alone", ".", "invalid-number"),
    ("amount left out", "", "missing-value"),
    ("amount that is none", "---", "missing-value"),
];

pub(super) fn quirks() -> Vec<Quirk> {
    let right = AMOUNTS.into_iter().map(|(name, text, paid)| {
        let odd = Line::sale("3/9/2025", name, "Rope", text, good("2025-03-09", paid));
        line(name, 0, odd)
    });
    let wrong = WRONG
        .into_iter()
        .map(|(name, text, code)| bad_cell(name, 0, PAID, plain(text), code));
    let unicode = [
        ("amount with a Unicode minus", "−34.88"),
        ("amount with a euro sign", "€34.88"),
        ("amount in Arabic digits", "٣٤"),
        ("amount in full-width digits", "３４.８８"),
        ("amount with a hard space for thousands", "1\u{A0}288.50"),
    ];
    let unicode = unicode
        .into_iter()
        .map(|(name, text)| bad_cell(name, ENCODING, PAID, plain(text), "invalid-number"));
    let quantities = [
        good_cell("quantity below zero", OPTIONAL, QUANTITY, plain("-1")),
        good_cell("quantity with decimals", OPTIONAL, QUANTITY, plain("0.5")),
        good_cell("quantity left out", OPTIONAL, QUANTITY, plain("")),
        good_cell("quantity that is none", OPTIONAL, QUANTITY, plain("---")),
        bad_cell(
            "quantity in words",
            OPTIONAL,
            QUANTITY,
            plain("one"),
            "invalid-number",
        ),
        bad_cell(
            "quantity too large",
            OPTIONAL,
            QUANTITY,
            plain("99999999999999999"),
            "number-out-of-range",
        ),
    ];
    let hard = good_cell(
        "amount between hard spaces",
        ENCODING,
        PAID,
        plain("\u{A0}7.25\u{A0}"),
    );
    let sum = quirk("amounts whose sum is large", 0, |draft| {
        for name in ["sum 1", "sum 2", "sum 3"] {
            let largest = "92233720368547.75807";
            let odd = Line::sale(
                "3/9/2025",
                name,
                "Rope",
                largest,
                good("2025-03-09", largest),
            );
            draft.insert(odd);
        }
    });
    let mut quirks: Vec<Quirk> = right
        .chain(wrong)
        .chain(unicode)
        .chain(quantities)
        .collect();
    quirks.extend([hard, sum]);
    quirks
}
