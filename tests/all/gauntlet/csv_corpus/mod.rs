//! Hostile sales files, each with its outcome stated beforehand: every quirk alone, then quirks in
//! pairs, all through the real importer.
//!
//! Who states an outcome is a quirk's author, see [`quirks`]; what two of them make together follows
//! from their statements, see [`draft`]. Neither asks the parser.

mod draft;
mod expected;
mod importing;
mod memory;
mod quirks;
mod spectrum;

use std::{collections::BTreeSet, path::PathBuf, thread};

use jiff::civil::Date;
use shared::platform::ids::Random;

use self::{draft::Draft, expected::Expected, importing::Desk, quirks::Quirk};
use crate::support::gauntlet;

/// A file, and what must become of it.
struct Case {
    name: String,
    file: Vec<u8>,
    earlier: Option<Vec<u8>>,
    delimiter: u8,
    unseen: u64,
    expected: Expected,
}

impl Case {
    fn of(quirks: &[&Quirk]) -> Self {
        let mut draft = Draft::new();
        for quirk in quirks {
            quirk.apply(&mut draft);
        }
        let names: Vec<&str> = quirks.iter().map(|quirk| quirk.name).collect();
        Self {
            name: names.join(" + "),
            file: draft.file(),
            earlier: draft.earlier_file(),
            delimiter: u8::try_from(draft.delimiter).expect("delimiters are ASCII"),
            unseen: draft.unseen,
            expected: draft.expected(),
        }
    }

    /// The rows of the file as another reader of CSV counts them: records that hold anything but blanks.
    fn rows_elsewhere(&self) -> Option<u64> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(self.delimiter)
            .flexible(true)
            .has_headers(false)
            .from_reader(&self.file[..]);
        let mut record = csv::ByteRecord::new();
        let mut rows = self.unseen;
        while reader.read_byte_record(&mut record).ok()? {
            let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
            let holds = record.iter().any(|cell| !cell.iter().all(is_blank));
            rows += u64::from(holds);
        }
        rows.checked_sub(1)
    }

    /// Stretches of days on which the file, or the earlier one, may have stored anything.
    fn spans(&self) -> Vec<(Date, Date)> {
        let span = |start, end| (Date::constant(start, 1, 1), Date::constant(end, 12, 31));
        let years: BTreeSet<i16> = match &self.expected {
            Expected::Refused(_) => BTreeSet::from([2024, 2025]),
            Expected::Taken(taken) => {
                let dates = taken.days.keys().map(|day| day.parse::<Date>());
                let years = dates.map(|date| date.expect("a stated day is a date").year());
                years.chain([2025]).collect()
            }
        };
        years.into_iter().map(|year| span(year, year)).collect()
    }
}

/// Pairs of quirks that go together, in an order that the seed decides.
fn pairs(quirks: &[Quirk], most: usize) -> Vec<[&Quirk; 2]> {
    let mut found = Vec::new();
    for (at, one) in quirks.iter().enumerate() {
        for other in &quirks[at + 1..] {
            if one.goes_with(other) {
                found.push([one, other]);
            }
        }
    }
    let random = Random::seeded(gauntlet::seed());
    for at in 0..most.min(found.len()) {
        let rest = u32::try_from(found.len() - at - 1).expect("pairs are few");
        let other = at + usize::try_from(random.up_to(rest)).expect("pairs are few");
        found.swap(at, other);
    }
    found.truncate(most);
    found
}

/// Runs the cases, two at a time; tells what is not as stated.
fn run(cases: &[Case]) -> Vec<String> {
    const DESKS: usize = 2;
    let work = &|first: usize| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        runtime.block_on(async {
            let desk = Desk::open(cases.len().div_ceil(DESKS)).await;
            let mut faults = Vec::new();
            for (table, case) in cases.iter().skip(first).step_by(DESKS).enumerate() {
                let found = desk.check(table, case).await;
                if !found.is_empty() {
                    let path = keep(table * DESKS + first, case);
                    let found = found.join("\n    ");
                    faults.push(format!("{} ({}):\n    {found}", case.name, path.display()));
                }
            }
            faults
        })
    };
    thread::scope(|scope| {
        let desks: Vec<_> = (0..DESKS)
            .map(|first| scope.spawn(move || work(first)))
            .collect();
        let ended = desks.into_iter().map(thread::ScopedJoinHandle::join);
        let faults = ended.map(|faults| faults.expect("nothing panics, whatever the file"));
        faults.flatten().collect()
    })
}

/// Keeps a file that surprised.
fn keep(at: usize, case: &Case) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("csv");
    let path = folder.join(format!("{at}.csv"));
    let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, &case.file));
    kept.expect("the target folder can be written");
    path
}

#[test]
fn every_hostile_file_has_the_outcome_that_was_stated_for_it() {
    let quirks = quirks::all();
    let names: BTreeSet<&str> = quirks.iter().map(|quirk| quirk.name).collect();
    assert_eq!(names.len(), quirks.len(), "no two quirks have one name");
    let mut cases: Vec<Case> = quirks.iter().map(|quirk| Case::of(&[quirk])).collect();
    let pairs = pairs(&quirks, gauntlet::sized(60, 600));
    cases.extend(pairs.iter().map(|pair| Case::of(pair)));
    assert!(cases.len() >= 300, "{} files", cases.len());

    let faults = run(&cases);
    let (mut refused, mut rows, mut rejected) = (0, 0, 0);
    for case in &cases {
        match &case.expected {
            Expected::Refused(_) => refused += 1,
            Expected::Taken(taken) => {
                rows += taken.rows();
                rejected += taken.rejected.len();
            }
        }
    }
    let figure = |what, value| gauntlet::figure("hostile CSV", what, value);
    figure("quirks", quirks.len().to_string());
    figure("files", cases.len().to_string());
    figure("files refused whole, as stated", refused.to_string());
    figure(
        "rows, each imported, duplicate or rejected",
        rows.to_string(),
    );
    figure(
        "rows rejected, each with its number and code",
        rejected.to_string(),
    );
    figure("files with another outcome", faults.len().to_string());
    let seed = gauntlet::seed();
    assert!(
        faults.is_empty(),
        "seed {seed}, {} files:\n  {}",
        faults.len(),
        faults.join("\n  ")
    );
}
