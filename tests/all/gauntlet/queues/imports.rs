//! The queue of imports that are to be gone on with, or taken back.

use std::collections::BTreeMap;

use functions::sales::{
    import::{Context, handle},
    importer::{Importer, MEMORY, Outcome, Source},
    queue::TaskQueue,
};
use jiff::{SignedDuration, Timestamp, civil::Date};
use lambda_runtime::LambdaEvent;
use rust_decimal::Decimal;
use serde_json::json;
use shared::{
    platform::{
        aws::{Connection, http_client},
        clock::Clock,
        config::ImportQueue,
        table::Write,
    },
    sales::{
        chunk::StoredRows,
        files::ImportFiles,
        import::{Import, ImportId, ObjectVersion, Status},
        model::Column,
        store::SalesStore,
    },
    testing::{Database, Table},
};

use super::{
    poison::{self, Poison},
    refusals::{KINDS, Met, Trouble},
    sqs::{Delivery, Sqs},
};
use crate::support::{
    gauntlet,
    object_store::{ObjectStore, etag},
};

const CHECK: &str = "queues: SalesImportQueue";
const HEADER: &str = "Sale Date,Sale ID,Item name,Total Paid\n";
const FIRST: Date = Date::constant(2025, 3, 1);
const DAYS: u32 = 60;
/// Calls of a run among which the one is that goes wrong.
const CALLS: u32 = 8;

/// A row: day, sale, item and hundredths.
type Row = (u32, String, u32, i32);

/// What is to come of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stored,
    Dry,
    Missing,
    TakenBack,
}

struct Planned {
    id: ImportId,
    rows: Vec<Row>,
    rejected: u64,
    fate: Fate,
}

struct World {
    database: Database,
    objects: ObjectStore,
    clock: Clock,
    sqs: Sqs,
}

impl World {
    async fn start() -> Self {
        let clock = Clock::fixed(Timestamp::from_second(1_760_000_000).unwrap());
        let table = Table::new("Sales").index("imports", "imports_pk", "imports_sk");
        Self {
            database: Database::start(&[table]).await,
            objects: ObjectStore::start().await,
            sqs: Sqs::of("SalesImportQueue", &clock),
            clock,
        }
    }

    fn process(&self, trouble: &Trouble) -> Context {
        let http = trouble.over(http_client(Some(self.database.endpoint())));
        let table = Connection::to_emulator(self.database.endpoint(), http);
        let http = http_client(Some(self.objects.endpoint()));
        let s3 = Connection::to_emulator(self.objects.endpoint(), http);
        Context {
            importer: Importer {
                store: SalesStore::new(table.dynamodb(), "Sales".into()),
                files: ImportFiles::new(s3.s3(), "bucket".into()),
                clock: self.clock.clone(),
                random: self.sqs.random.clone(),
                memory: MEMORY,
                digests: Importer::DIGESTS,
            },
            queue: TaskQueue {
                client: self.sqs.client(),
                queue: ImportQueue::new(Sqs::url()),
            },
            failed: self.sqs.failed(),
        }
    }

    fn deadline(&self) -> Timestamp {
        self.clock.now() + SignedDuration::from_mins(15)
    }

    /// Makes an import and its file.
    async fn plan(&self, process: &Context, n: usize) -> Planned {
        let random = &self.sqs.random;
        let fate = match n % 10 {
            0 => Fate::TakenBack,
            1 => Fate::Dry,
            2 if n % 20 == 2 => Fate::Missing,
            _ => Fate::Stored,
        };
        let first = random.up_to(DAYS - 4);
        let rows: Vec<Row> = (0..=random.up_to(4))
            .map(|_| {
                // Few sales, so that files overlap and rows repeat; those taken back have their own.
                let sale = match fate {
                    Fate::TakenBack => format!("T{n}"),
                    _ => format!("S{}", random.up_to(2)),
                };
                let hundredths = i32::try_from(random.up_to(300)).unwrap() - 100;
                (first + random.up_to(2), sale, random.up_to(1), hundredths)
            })
            .collect();
        let rejected = u64::from(random.up_to(3) == 0);
        let mut file = HEADER.to_owned() + &rows.iter().map(line).collect::<String>();
        if rejected > 0 {
            file += "3/1/2025,S1,item 1,not money\n";
        }
        let key = format!("imports/{n}.csv");
        if fate != Fate::Missing {
            self.objects.put(&format!("bucket/{key}"), file.clone());
        }
        let object = ObjectVersion {
            key: key.clone(),
            etag: etag(file.as_bytes()),
            sequencer: n.to_string(),
            size: file.len() as u64,
        };
        let id = ImportId::of_object(&object, self.clock.now());
        let is_dry = fate == Fate::Dry;
        let mut import = Import::pending(id, key, is_dry, "test".into(), self.clock.now());
        import.object = Some(object.clone());
        let importer = &process.importer;
        let made = importer.store.create_import(&import).await.unwrap();
        assert_eq!(made, Write::Done);
        if fate == Fate::TakenBack {
            let source = Source::Object(object);
            let run = Box::pin(importer.run(id, &source, self.deadline()));
            let Outcome::Ended(mut import) = run.await.unwrap() else {
                panic!("it has all the time")
            };
            import.status = Status::Deleting;
            import.next_day = None;
            import.version += 1;
            let saved = importer.store.save_import(&import, import.version - 1);
            assert_eq!(saved.await.unwrap(), Write::Done);
        }
        Planned {
            id,
            rows,
            rejected,
            fate,
        }
    }
}

fn line((day, sale, item, hundredths): &Row) -> String {
    let date = FIRST + SignedDuration::from_hours(24 * i64::from(*day));
    let sign = if *hundredths < 0 { "-" } else { "" };
    let (month, day, size) = (date.month(), date.day(), hundredths.unsigned_abs());
    format!(
        "{month}/{day}/2025,{sale},item {item},{sign}{}.{:02}\n",
        size / 100,
        size % 100
    )
}

fn task(action: &str, id: ImportId) -> String {
    json!({"action": action, "import": id}).to_string()
}

/// How often each row is stored in the end: as often as the file has it that has it most often.
fn reference(planned: &[Planned]) -> BTreeMap<Row, usize> {
    let mut stored: BTreeMap<Row, usize> = BTreeMap::new();
    for import in planned.iter().filter(|import| import.fate == Fate::Stored) {
        let mut own: BTreeMap<&Row, usize> = BTreeMap::new();
        for row in &import.rows {
            *own.entry(row).or_default() += 1;
        }
        for (row, count) in own {
            let most = stored.entry(row.clone()).or_default();
            *most = count.max(*most);
        }
    }
    stored
}

fn near_misses(some: ImportId) -> Vec<Poison> {
    let bodies = [
        json!({"action": "delete", "import": some}),
        json!({"action": "import"}),
        json!({"import": some}),
        json!({"action": "import", "import": "0000000000000000000000000U"}),
        json!({"action": "import", "import": 7}),
        json!([["import", some]]),
    ];
    bodies.map(|body| (body.to_string(), true)).to_vec()
}

#[tokio::test]
async fn imports_asked_for_in_any_way_end_as_asked_once_and_poison_alone_is_set_aside() {
    let world = World::start().await;
    let (sqs, random) = (&world.sqs, world.sqs.random.clone());
    let warm = world.process(&Trouble::none());
    let mut planned = Vec::new();
    for n in 0..gauntlet::sized(78, 1_300) {
        planned.push(world.plan(&warm, n).await);
    }
    let mut messages = Vec::new();
    for (n, import) in planned.iter().enumerate() {
        let action = match import.fate {
            Fate::TakenBack => "take-back",
            _ => "import",
        };
        messages.push(task(action, import.id));
        // What is asked for twice, or of an import that is not so far.
        match n % 7 {
            0 => messages.push(task(action, import.id)),
            1 if import.fate == Fate::TakenBack => messages.push(task("import", import.id)),
            1 => messages.push(task("take-back", import.id)),
            _ => {}
        }
    }
    messages.push(task(
        "import",
        "00000000000000000000000001".parse().unwrap(),
    ));
    let kinds = [poison::common(), near_misses(planned[0].id)].concat();
    let poison = poison::fill(sqs, messages, &kinds);

    let met = Met::default();
    sqs.drain(async |delivery: Delivery| {
        let mut lambda = lambda_runtime::Context::default();
        let is_short = delivery.is_disturbed && random.up_to(2) == 0;
        let seconds = if is_short {
            met.add("runs without time");
            5
        } else {
            900
        };
        let deadline = world.clock.now() + SignedDuration::from_secs(seconds);
        lambda.deadline = deadline.as_millisecond().try_into().unwrap();
        let event = LambdaEvent::new(delivery.event, lambda);
        if !delivery.is_disturbed || is_short {
            return Some(Box::pin(handle(&warm, event)).await.unwrap());
        }
        let trouble = met.pick(&random, CALLS);
        let process = world.process(&trouble);
        let reply = trouble.survive(Box::pin(handle(&process, event))).await;
        met.count(&trouble);
        reply.map(Result::unwrap)
    })
    .await;

    sqs.account(&poison);
    met.report(CHECK, &[&KINDS[..], &["runs without time"]].concat());
    let expected = reference(&planned);
    let stored = rows_agree(&warm.importer.store, &expected).await;
    records_agree(&warm.importer.store, &planned, stored).await;
    gauntlet::figure(CHECK, "rows found = rows expected", stored);
}

/// Days hold exactly the rows that are expected, and their totals; gives how many there are.
async fn rows_agree(store: &SalesStore, expected: &BTreeMap<Row, usize>) -> u64 {
    let seed = format!("GAUNTLET_SEED={}", gauntlet::seed());
    let mut days: BTreeMap<Date, BTreeMap<String, usize>> = BTreeMap::new();
    let mut sums: BTreeMap<Date, (i64, i64)> = BTreeMap::new();
    for (row, count) in expected {
        let date = FIRST + SignedDuration::from_hours(24 * i64::from(row.0));
        let cells = line(row).trim_end().to_owned();
        days.entry(date).or_default().insert(cells, *count);
        let (hundredths, rows) = sums.entry(date).or_default();
        let count = i64::try_from(*count).unwrap();
        *hundredths += i64::from(row.3) * count;
        *rows += count;
    }
    let (start, end) = (Date::constant(2000, 1, 1), Date::constant(2030, 12, 31));
    let totals = store.totals(start, end).await.unwrap();
    let totals: Vec<_> = totals.into_iter().filter(|total| total.rows != 0).collect();
    let dates: Vec<Date> = totals.iter().map(|total| total.date).collect();
    assert_eq!(dates, days.keys().copied().collect::<Vec<_>>(), "{seed}");
    let mut stored = 0;
    for total in totals {
        let (hundredths, rows) = sums[&total.date];
        let sum = (Decimal::new(hundredths, 2), rows);
        assert_eq!((total.revenue, total.rows), sum, "{}: {seed}", total.date);
        let day = store.day(total.date).await.unwrap();
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for name in day.chunks.keys() {
            let frame = store.chunk(total.date, name).await.unwrap();
            let frame = frame.expect("a listed chunk exists");
            for row in StoredRows::decode(&frame).unwrap().iter() {
                let cell = |column: Column| row.cells[column as usize];
                let columns = [
                    Column::SaleDate,
                    Column::SaleId,
                    Column::ItemName,
                    Column::TotalPaid,
                ];
                *found.entry(columns.map(cell).join(",")).or_default() += 1;
                stored += 1;
            }
        }
        assert_eq!(found, days[&total.date], "{}: {seed}", total.date);
    }
    stored
}

/// Each import has ended as asked for, and every row is some import's.
async fn records_agree(store: &SalesStore, planned: &[Planned], stored: u64) {
    let seed = format!("GAUNTLET_SEED={}", gauntlet::seed());
    let mut imported = 0;
    for plan in planned {
        let import = store.import(plan.id).await.unwrap().unwrap();
        let expected = match (plan.fate, plan.rejected) {
            (Fate::TakenBack, _) => Status::Deleted,
            (Fate::Missing, _) => Status::Failed,
            (_, 0) => Status::Completed,
            _ => Status::CompletedWithErrors,
        };
        assert_eq!(import.status, expected, "{import:?}: {seed}");
        if matches!(plan.fate, Fate::Stored | Fate::Dry) {
            let counts = import.counts;
            assert_eq!(counts.rejected, plan.rejected, "{import:?}: {seed}");
            let valid = counts.imported + counts.duplicate;
            assert_eq!(valid, plan.rows.len() as u64, "{import:?}: {seed}");
        }
        if plan.fate == Fate::Stored {
            imported += import.counts.imported;
        }
    }
    assert_eq!(imported, stored, "{seed}");
}
