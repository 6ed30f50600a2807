//! Cells that a spreadsheet would run as a formula, and how to keep it from that.
//!
//! Source: OWASP, "CSV Injection",
//! <https://owasp.org/www-community/attacks/CSV_Injection>.

use std::borrow::Cow;

use crate::sales::model::NO_VALUE;

/// The cell with an apostrophe before it if a spreadsheet would take it for a formula: if, after
/// any apostrophes and spaces, it begins with `=`, `+`, `-`, `@` (or their full-width forms), tab,
/// CR or LF. Plain numbers such as `-34.88` and the no-value mark `---` stay as they are.
///
/// [`undefuse`] is its exact inverse, for every cell.
#[must_use]
pub fn defuse(cell: &str) -> Cow<'_, str> {
    if is_formula(cell) {
        Cow::Owned(format!("'{cell}"))
    } else {
        Cow::Borrowed(cell)
    }
}

/// The cell that [`defuse`] was given.
#[must_use]
pub fn undefuse(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if is_formula(rest) => rest,
        _ => cell,
    }
}

/// Depends only on what follows the leading apostrophes and spaces: that makes [`defuse`]
/// one-to-one.
fn is_formula(cell: &str) -> bool {
    let core = cell.trim_start_matches(['\'', ' ']);
    let triggers = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    core.starts_with(triggers) && core != NO_VALUE && !is_plain_number(core)
}

fn is_plain_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let points = digits.bytes().filter(|byte| *byte == b'.').count();
    points <= 1
        && digits.bytes().any(|byte| byte.is_ascii_digit())
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn formulas_get_an_apostrophe() {
        for cell in [
            "=1+1",
            "+1+1",
            "-1+cmd|' /C calc'!A0",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            " =1",
            "＝1",
            "'=1",
            "''=1",
            "-",
            "--",
            "----",
            "-1-1",
            "+65 9123",
            "-1.2.3",
        ] {
            assert_eq!(defuse(cell), format!("'{cell}"));
        }
    }

    #[test]
    fn numbers_and_plain_text_stay() {
        for cell in [
            "",
            "-1",
            "-34.88",
            "+5",
            "-1,288.50",
            "-.5",
            "---",
            "'-1",
            "it's",
            "'quoted'",
            "a=b",
            "1-2",
            "'",
        ] {
            assert_eq!(defuse(cell), cell);
            assert_eq!(undefuse(cell), cell);
        }
    }

    proptest! {
        #[test]
        fn undefuse_gives_back_what_defuse_was_given(cell in "['= +@\\-\t\r\n.,0-9a]{0,8}|\\PC{0,8}") {
            let defused = defuse(&cell);
            prop_assert_eq!(undefuse(&defused), cell.as_str());
        }

        #[test]
        fn nothing_defused_begins_like_a_formula(cell in "['= +@\\-\t\r\n.,0-9a]{0,8}") {
            let safe = defuse(&cell);
            let core = safe.trim_start_matches(' ');
            prop_assert!(!core.starts_with(['=', '@', '\t', '\r', '\n']), "{safe:?}");
        }
    }
}
