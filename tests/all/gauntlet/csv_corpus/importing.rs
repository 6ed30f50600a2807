//! Files through the real importer: its table is an embedded database, its bucket an object store in
//! memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use functions::sales::importer::{Importer, MEMORY, Outcome, Report, Source};
use jiff::{SignedDuration, Timestamp};
use shared::{
    platform::{
        aws::{Connection, http_client},
        clock::Clock,
        ids::Random,
        table::Write,
    },
    sales::{
        chunk::StoredRows,
        files::ImportFiles,
        import::{Counts, Failure, Import, ImportId, ObjectVersion, Status},
        store::SalesStore,
    },
    testing::{Database, Table},
};

use super::{
    Case,
    expected::{Day, Expected, Rejection, Taken},
};
use crate::support::{
    gauntlet,
    object_store::{ObjectStore, etag},
};

/// A database with a table for each file, and a bucket.
pub(super) struct Desk {
    _database: Database,
    dynamodb: aws_sdk_dynamodb::Client,
    s3: aws_sdk_s3::Client,
    objects: ObjectStore,
    clock: Clock,
}

/// One file's table, and what happens there.
struct Bench<'d> {
    desk: &'d Desk,
    importer: Importer,
    table: usize,
    puts: u64,
}

/// What is not as it was stated.
type Faults = Vec<String>;

fn compare<T: PartialEq + std::fmt::Debug>(faults: &mut Faults, what: &str, found: &T, wanted: &T) {
    if found != wanted {
        let shortened = |value: &T| format!("{value:?}").chars().take(600).collect::<String>();
        let (found, wanted) = (shortened(found), shortened(wanted));
        faults.push(format!("{what}: {found}, stated {wanted}"));
    }
}

impl Desk {
    pub(super) async fn open(files: usize) -> Self {
        let table =
            |file| Table::new(format!("Sales{file}")).index("imports", "imports_pk", "imports_sk");
        let tables: Vec<Table> = (0..files).map(table).collect();
        let database = Database::start(&tables).await;
        let objects = ObjectStore::start().await;
        let endpoint = objects.endpoint();
        Self {
            dynamodb: database.client(),
            s3: Connection::to_emulator(endpoint, http_client(Some(endpoint))).s3(),
            _database: database,
            objects,
            clock: Clock::fixed(Timestamp::from_second(1_760_000_000).expect("it is in range")),
        }
    }

    /// Imports the file as a rehearsal or a dry run, in earnest and as a rehearsal again, and says what
    /// is not as stated.
    pub(super) async fn check(&self, table: usize, case: &Case) -> Faults {
        let bench = Bench {
            desk: self,
            importer: Importer {
                store: SalesStore::new(self.dynamodb.clone(), format!("Sales{table}")),
                files: ImportFiles::new(self.s3.clone(), "bucket".into()),
                clock: self.clock.clone(),
                random: Random::system(),
                memory: MEMORY,
                digests: Importer::DIGESTS,
            },
            table,
            puts: 0,
        };
        Box::pin(bench.check(case)).await
    }
}

impl Bench<'_> {
    fn deadline(&self) -> Timestamp {
        self.desk.clock.now() + SignedDuration::from_mins(15)
    }

    async fn rehearse(&self, file: &[u8]) -> Result<Report, Failure> {
        let id = ImportId::new(uuid::Uuid::from_u128(7));
        let source = Source::Bytes(Bytes::copy_from_slice(file));
        let rehearsed = self.importer.rehearse(id, &source, self.deadline()).await;
        rehearsed.expect("nothing fails but the file")
    }

    /// Puts the file into the bucket and runs its import to its end.
    async fn import(&mut self, file: &[u8], dry_run: bool) -> Import {
        self.puts += 1;
        let key = format!("imports/{}-{}.csv", self.table, self.puts);
        self.desk
            .objects
            .put(&format!("bucket/{key}"), file.to_vec());
        let object = ObjectVersion {
            key: key.clone(),
            etag: etag(file),
            sequencer: self.puts.to_string(),
            size: file.len() as u64,
        };
        let now = self.desk.clock.now();
        let id = ImportId::of_object(&object, now);
        let import = Import::pending(id, key, dry_run, "test".into(), now);
        let created = self.importer.store.create_import(&import).await;
        assert_eq!(created.expect("the table works"), Write::Done);
        let source = Source::Object(object);
        match self.importer.run(id, &source, self.deadline()).await {
            Ok(Outcome::Ended(import)) => *import,
            other => panic!("an import ends with its file: {other:?}"),
        }
    }

    async fn check(mut self, case: &Case) -> Faults {
        if let Some(earlier) = &case.earlier {
            let import = self.import(earlier, false).await;
            assert_eq!(import.status, Status::Completed, "the earlier file is good");
        }
        let before = self.stored(case).await;
        // In the small size either of the two ways to ask what an import would do.
        let is_even = self.table.is_multiple_of(2);
        let mut foretold: Vec<(Counts, Option<Failure>)> = Vec::new();
        if gauntlet::is_full() || is_even {
            foretold.push(match self.rehearse(&case.file).await {
                Ok(report) => (report.counts, None),
                Err(failure) => (Counts::default(), Some(failure)),
            });
        }
        if gauntlet::is_full() || !is_even {
            let dry = self.import(&case.file, true).await;
            foretold.push((dry.counts, dry.failure));
        }
        let untouched = self.stored(case).await;
        let import = self.import(&case.file, false).await;
        let after = self.stored(case).await;

        let mut faults = Faults::new();
        compare(&mut faults, "stored by a dry run", &untouched, &before);
        let ended = (import.counts, import.failure.clone());
        for foretold in foretold {
            compare(&mut faults, "foretold by a dry run", &foretold, &ended);
        }
        match &case.expected {
            Expected::Refused(code) => {
                let failure = import.failure.as_ref().map(|failure| failure.code.as_str());
                compare(&mut faults, "failure", &failure, &Some(*code));
                compare(&mut faults, "status", &import.status, &Status::Failed);
                compare(&mut faults, "counts", &import.counts, &Counts::default());
                compare(&mut faults, "stored by a refused file", &after, &before);
            }
            Expected::Taken(taken) => {
                self.check_taken(case, taken, &import, &mut faults).await;
                compare(&mut faults, "stored", &after, &taken.days);
            }
        }
        faults
    }

    async fn check_taken(&self, case: &Case, taken: &Taken, import: &Import, faults: &mut Faults) {
        compare(faults, "failure", &import.failure, &None);
        let counts = Counts {
            imported: taken.imported,
            duplicate: taken.duplicate,
            rejected: taken.rejected.len() as u64,
        };
        compare(faults, "counts", &import.counts, &counts);
        compare(faults, "rows done", &import.rows.done, &taken.rows());
        compare(faults, "rows in all", &import.rows.total, &taken.rows());
        compare(
            faults,
            "warned",
            &!import.warnings.is_empty(),
            &taken.warned,
        );
        if let Some(rows) = case.rows_elsewhere() {
            compare(
                faults,
                "rows of the file as the csv crate sees them",
                &rows,
                &taken.rows(),
            );
        }
        let again = self.rehearse(&case.file).await;
        let again = again
            .map(|report| report.counts)
            .map_err(|failure| failure.code);
        let repeated = Counts {
            imported: 0,
            duplicate: taken.imported + taken.duplicate,
            ..counts
        };
        compare(
            faults,
            "counts of the same file again",
            &again,
            &Ok(repeated),
        );
        self.check_errors(taken, import, faults).await;
    }

    /// `errors.csv` has every rejected row with its number and code, runs in no spreadsheet, and can be
    /// uploaded as it is.
    async fn check_errors(&self, taken: &Taken, import: &Import, faults: &mut Faults) {
        let path = format!("bucket/errors/{}/errors.csv", import.id);
        let file = self.desk.objects.get(&path);
        compare(
            faults,
            "has errors.csv",
            &file.is_some(),
            &!taken.rejected.is_empty(),
        );
        let Some(file) = file else { return };
        let (told, formulas) = read_errors(&file);
        let wanted = taken
            .rejected
            .iter()
            .map(|row| (row.row, row.code.to_owned()));
        compare(faults, "rows of errors.csv", &told, &wanted.collect());
        compare(faults, "formulas in errors.csv", &formulas, &Vec::new());
        let again = match self.rehearse(&file).await {
            Ok(again) => again,
            Err(failure) => {
                faults.push(format!("errors.csv uploaded again: {failure:?}"));
                return;
            }
        };
        let Counts {
            imported,
            duplicate,
            rejected,
        } = again.counts;
        let rows = imported + duplicate + rejected;
        compare(
            faults,
            "rows of errors.csv uploaded again",
            &rows,
            &(taken.rejected.len() as u64),
        );
        // Written anew, a row is well quoted, and has cells for all columns.
        let mended = ["malformed-quoting", "too-few-cells"];
        let left = taken
            .rejected
            .iter()
            .filter(|row| !mended.contains(&row.code));
        let left: Vec<&Rejection> = left.collect();
        if left.len() == taken.rejected.len() {
            let codes = again.errors.iter().map(|error| error.code.as_str());
            let wanted = left.iter().take(again.errors.len()).map(|row| row.code);
            compare(
                faults,
                "codes of errors.csv uploaded again",
                &codes.collect::<Vec<_>>(),
                &wanted.collect(),
            );
            compare(
                faults,
                "rejected of errors.csv uploaded again",
                &rejected,
                &(left.len() as u64),
            );
        }
    }

    /// What is stored of the days in question, by day.
    async fn stored(&self, case: &Case) -> BTreeMap<String, Day> {
        let store = &self.importer.store;
        let mut stored = BTreeMap::new();
        for (start, end) in case.spans() {
            for total in store.totals(start, end).await.expect("the table works") {
                let day = store.day(total.date).await.expect("the table works");
                let mut found = Day {
                    revenue: total.revenue,
                    ..Day::default()
                };
                for name in day.chunks.keys() {
                    let frame = store
                        .chunk(total.date, name)
                        .await
                        .expect("the table works");
                    let rows = StoredRows::decode(&frame.expect("a listed chunk exists"));
                    for row in rows.expect("a stored chunk is whole").iter() {
                        found.rows.push(row.cells.map(str::to_owned).to_vec());
                    }
                }
                found.rows.sort();
                let sales = found
                    .rows
                    .iter()
                    .map(|row| row[super::draft::SALE].trim().to_owned());
                found.sales = sales.collect();
                let counted = (usize::try_from(total.rows), usize::try_from(total.orders));
                assert_eq!(
                    counted,
                    (Ok(found.rows.len()), Ok(found.sales.len())),
                    "{}",
                    total.date
                );
                stored.insert(total.date.to_string(), found);
            }
        }
        stored
    }
}

/// The number and code of each row of an errors file, and the cells that a spreadsheet would run.
fn read_errors(file: &[u8]) -> (Vec<(u64, String)>, Vec<String>) {
    let header = file.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let delimiter = *[b';', b'\t']
        .iter()
        .find(|delimiter| header.ends_with(&[&[**delimiter][..], b"_message\r"].concat()))
        .unwrap_or(&b',');
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .from_reader(file);
    let header = reader.headers().expect("an errors file is UTF-8").clone();
    let column = |name| header.iter().position(|found| found == name);
    let (row, code) = (
        column("_row").expect("it is there"),
        column("_code").expect("it is there"),
    );
    let (mut told, mut formulas) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let record = record.expect("an errors file is UTF-8");
        told.push((record[row].parse().unwrap_or(0), record[code].to_owned()));
        let runs = |cell: &&str| {
            let is_number = cell.replace(',', "").parse::<f64>().is_ok();
            cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number && *cell != "---"
        };
        formulas.extend(record.iter().filter(runs).map(str::to_owned));
    }
    (told, formulas)
}
