//! The quirks, each with the outcome that its author states.

mod amounts;
mod dates;
mod foreign;
mod header;
mod lines;
mod quotes;
mod sizes;
mod spelling;
mod text;

use super::draft::{Cell, Draft, Fate, Line, Stage, good};

/// What a quirk lays claim to: two that claim the same do not go together.
type Claims = u32;

/// The first bytes.
const START: Claims = 1;
/// The delimiter.
const DELIMITER: Claims = 1 << 1;
/// The header.
const HEADER: Claims = 1 << 2;
/// How lines end.
const ENDS: Claims = 1 << 3;
/// What stands last.
const TAIL: Claims = 1 << 4;
/// How text becomes bytes, or text that only some encodings have.
const ENCODING: Claims = 1 << 5;
/// How cells are quoted.
const QUOTES: Claims = 1 << 6;
/// That the file has the columns that it need not have.
const OPTIONAL: Claims = 1 << 7;
/// What was imported before.
const EARLIER: Claims = 1 << 8;
/// Apostrophes before formulas.
const APOSTROPHES: Claims = 1 << 9;
/// Everything: the quirk stands alone.
const ALONE: Claims = 1 << 31;

/// One way in which a file is odd.
pub(super) struct Quirk {
    pub(super) name: &'static str,
    claims: Claims,
    /// What makes the file one to refuse, if anything.
    stage: Option<Stage>,
    apply: Box<dyn Fn(&mut Draft)>,
}

impl Quirk {
    pub(super) fn apply(&self, draft: &mut Draft) {
        (self.apply)(draft);
    }

    /// Whether it can be told what the two make together: neither takes what the other claims, and not
    /// both end the file at the same place.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        let apart = self.claims & other.claims == 0 && (self.claims | other.claims) & ALONE == 0;
        apart && (self.stage.is_none() || self.stage != other.stage)
    }
}

fn quirk(name: &'static str, claims: Claims, apply: impl Fn(&mut Draft) + 'static) -> Quirk {
    let mut alone = Draft::new();
    apply(&mut alone);
    Quirk {
        name,
        claims,
        stage: alone.refused.map(|(stage, _)| stage),
        apply: Box::new(apply),
    }
}

/// A line that is odd in itself.
fn line(name: &'static str, claims: Claims, line: Line) -> Quirk {
    quirk(name, claims, move |draft| draft.insert(line.clone()))
}

/// A line like any other, with a sale of its own.
fn sale(name: &str, fate: Fate) -> Line {
    Line::sale("3/9/2025", name, "Rope", "7.25", fate)
}

/// A line like any other that counts.
fn good_sale(name: &str) -> Line {
    sale(name, good("2025-03-09", "7.25"))
}

/// A line with one odd cell, which counts all the same.
fn good_cell(name: &'static str, claims: Claims, column: usize, cell: Cell) -> Quirk {
    line(name, claims, good_sale(name).with(column, cell))
}

/// A line with one odd cell, for which it is rejected.
fn bad_cell(
    name: &'static str,
    claims: Claims,
    column: usize,
    cell: Cell,
    code: &'static str,
) -> Quirk {
    let line_of = sale(name, Fate::Rejected(code)).with(column, cell);
    line(name, claims, line_of)
}

/// Every quirk.
pub(super) fn all() -> Vec<Quirk> {
    let groups = [
        spelling::quirks(),
        header::quirks(),
        quotes::quirks(),
        lines::quirks(),
        dates::quirks(),
        amounts::quirks(),
        text::quirks(),
        sizes::quirks(),
        foreign::quirks(),
    ];
    groups.into_iter().flatten().collect()
}
