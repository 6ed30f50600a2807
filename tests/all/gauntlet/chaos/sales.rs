//! Sales: files come in and are taken back, by the bucket's events, the API and the queue; what is stored is
//! what the files say, each row once, and the totals are its sum.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::Arc,
};

use functions::{
    revenue,
    sales::{
        api, context,
        import::{self, handle},
        importer::{Importer, MEMORY},
        queue::TaskQueue,
    },
};
use futures_util::future::join_all;
use http::Method;
use jiff::{SignedDuration, ToSpan as _, civil::Date};
use lambda_runtime::LambdaEvent;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use shared::{
    platform::{
        aws::Connection,
        batch,
        caller::{Caller, Group},
        clock::{Clock, rfc3339},
        config::{CursorKey, ImportQueue},
        idempotency::Idempotency,
        ids::Random,
        upload_form::UploadSigner,
    },
    sales::{
        chunk::StoredRows,
        files::ImportFiles,
        import::{ImportId, Status},
        order_revenue::store::OrderRevenueStore,
        store::SalesStore,
    },
    testing::{InlineDatabase, Table},
};

use super::{
    below, once_in,
    site::{Ask, Site},
};
use crate::support::{
    chaos::{Chaos, Fault, Queues, paused},
    gauntlet::{figure, seed, sized},
    object_store::{ObjectStore, etag},
};

const CHECK: &str = "chaos: sales";
const QUEUE: &str = "http://queue.invalid/imports";
const DEAD_LETTERS: &str = "http://queue.invalid/imports-dead-letters";
const FIRST: Date = Date::constant(2025, 3, 1);
const DAYS: usize = 60;

/// The rows of a day, each with how many equal ones came before it, and the import that brought it.
type Rows = BTreeMap<(String, i64), ImportId>;

struct World {
    chaos: Arc<Chaos>,
    clock: Clock,
    random: Random,
    database: InlineDatabase,
    objects: ObjectStore,
    queues: Queues,
    admin: Caller,
    puts: u64,
    stored: BTreeMap<Date, Rows>,
    /// Events of files that came by the bucket.
    events: Vec<Value>,
    undone: usize,
}

/// Processes of all functions that have to do with sales.
struct Processes {
    import: import::Context,
    sales: Site,
    revenue: Site,
}

/// A file of few rows on a few days, many of which other files have as well.
struct File {
    text: String,
    rows: BTreeSet<(Date, String, i64)>,
}

impl World {
    async fn start(seed: u64) -> Self {
        let clock = Clock::fixed("2026-11-20T12:00:00Z".parse().unwrap());
        let chaos = Chaos::start(CHECK, seed, &clock);
        let table = Table::new("Sales").index("imports", "imports_pk", "imports_sk");
        let database = InlineDatabase::with(&[table]).await;
        let objects = ObjectStore::quiet();
        Self {
            queues: Queues::new(&clock),
            random: Random::seeded(seed),
            admin: Caller::new("root", [Group::Admin]),
            puts: 0,
            stored: BTreeMap::new(),
            events: Vec::new(),
            undone: 0,
            database,
            objects,
            chaos,
            clock,
        }
    }

    fn table(&self) -> Connection {
        let http = self.chaos.over(self.database.http());
        Connection::to_emulator("http://inline.invalid", http)
    }

    fn store(&self) -> SalesStore {
        SalesStore::new(self.table().dynamodb(), "Sales".into())
    }

    fn importer(&self) -> Importer {
        let endpoint = self.objects.endpoint();
        let http = self.chaos.over(self.objects.inline());
        let s3 = Connection::to_emulator(endpoint, http).s3();
        let is_small = once_in(&self.random, 3);
        Importer {
            store: self.store(),
            files: ImportFiles::new(s3, "bucket".into()),
            clock: self.clock.clone(),
            random: Random::seeded(u64::from(self.random.up_to(u32::MAX))),
            memory: if is_small { 700 } else { MEMORY },
            digests: if is_small { 3 } else { Importer::DIGESTS },
        }
    }

    /// New processes of every function.
    fn processes(&self) -> Processes {
        let http = self.chaos.over(self.queues.service());
        let sqs = Connection::to_emulator("http://queue.invalid", http).sqs();
        let queue = TaskQueue {
            client: sqs.clone(),
            queue: ImportQueue::new(QUEUE),
        };
        let dynamodb = self.table().dynamodb();
        let (clock, random) = (self.clock.clone(), Random::seeded(self.puts));
        let sales = context::Context {
            importer: self.importer(),
            queue: queue.clone(),
            signer: UploadSigner::for_emulator(self.objects.endpoint()),
            cursors: CursorKey::new([1; 32]).unwrap(),
            idempotency: Idempotency::new(dynamodb.clone(), "Sales", clock, random),
        };
        let revenue = revenue::context::Context {
            store: self.store(),
            orders: OrderRevenueStore::new(dynamodb, "Sales".into()),
        };
        let site = |function, router| Site::new(function, router, &self.chaos, &self.clock);
        Processes {
            import: import::Context {
                importer: self.importer(),
                queue,
                failed: batch::Queues {
                    sqs,
                    queue_url: QUEUE.to_owned(),
                    dead_letter_url: DEAD_LETTERS.to_owned(),
                },
            },
            sales: site("SalesApi", api::router(sales)),
            revenue: site("RevenueApi", revenue::api::router(revenue)),
        }
    }

    fn file(&self) -> File {
        let mut text = "Sale Date,Sale ID,Item name,Total Paid\n".to_owned();
        let mut seen: BTreeMap<(Date, String), i64> = BTreeMap::new();
        let mut rows = BTreeSet::new();
        let first = below(&self.random, DAYS);
        for _ in 0..=below(&self.random, 14) {
            let day = (first + below(&self.random, 3)) % DAYS;
            let date = FIRST + i32::try_from(day).unwrap().days();
            let (sale, item) = (below(&self.random, 6), below(&self.random, 3));
            let sign = if once_in(&self.random, 8) { "-" } else { "" };
            let cents = below(&self.random, 2);
            let line = format!(
                "{date},S{sale},item {item},{sign}{}.{:02}",
                sale + 1,
                item * 10 + cents
            );
            text.push_str(&line);
            text.push('\n');
            let ordinal = seen.entry((date, line.clone())).or_default();
            rows.insert((date, line, *ordinal));
            *ordinal += 1;
        }
        File { text, rows }
    }

    /// Puts a file into the bucket; the event that says so.
    fn put(&mut self, file: &File) -> Value {
        self.puts += 1;
        let key = format!("imports/{}.csv", self.puts);
        self.objects
            .put(&format!("bucket/{key}"), file.text.clone());
        json!({"Records": [{
            "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1",
            "eventTime": rfc3339(self.clock.now()), "eventName": "ObjectCreated:Put",
            "userIdentity": {}, "requestParameters": {}, "responseElements": {},
            "s3": {"bucket": {"name": "bucket"}, "object": {
                "key": key, "size": file.text.len(), "eTag": etag(file.text.as_bytes()),
                "sequencer": format!("{:016}", self.puts),
            }},
        }]})
    }

    /// Delivers an event until it is handled, as Lambda and whoever redrives its failures do; and now and
    /// then once more.
    async fn deliver(&self, processes: &Processes, event: &Value) {
        let is_again = once_in(&self.random, 6);
        for _ in 0..20 {
            let run = |context| handle(&processes.import, LambdaEvent::new(event.clone(), context));
            let handled = self.chaos.invoke("SalesImport", run).await;
            if handled.is_ok() {
                if is_again {
                    let _ = self.chaos.invoke("SalesImport", run).await;
                }
                return;
            }
            self.clock.advance(SignedDuration::from_secs(60));
        }
        panic!("an event is never handled: {}", self.chaos.replay());
    }

    /// Uploads a file through the API, and asks again until that is answered for good.
    async fn upload(&self, processes: &Processes, file: &File, key: u64) {
        let body = format!(
            "--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\n{}\r\n--cut--\r\n",
            file.text
        );
        let ask = Ask::post(&self.admin, "/api/sales/import-sales/")
            .key(format!("upload-{key}"))
            .body("multipart/form-data; boundary=cut", body);
        let answer = processes.sales.insist(&ask).await;
        assert!(answer.is_success(), "{answer:?}: {}", self.chaos.replay());
    }

    /// Takes an import back through the API.
    async fn take_back(&self, processes: &Processes, id: ImportId) {
        let path = format!("/api/sales/imports/{id}");
        for _ in 0..40 {
            let found = processes.sales.insist(&Ask::get(&self.admin, &path)).await;
            let version = found.header("etag").expect("an import has a version");
            let ask = Ask::new(&self.admin, Method::DELETE, &path).header("if-match", version);
            let answer = processes.sales.ask(&ask).await;
            if answer.is_success() {
                return;
            }
            let is_for_now = matches!(answer.status, 409 | 412 | 503);
            assert!(is_for_now, "{answer:?}: {}", self.chaos.replay());
            self.clock.advance(SignedDuration::from_mins(2));
        }
        panic!("{id} is never taken back: {}", self.chaos.replay());
    }

    /// Works the queue off.
    async fn work_off(&self, processes: &Processes) {
        for _ in 0..100 {
            while let Some(event) = self.queues.receive(QUEUE, 1) {
                let run =
                    |context| handle(&processes.import, LambdaEvent::new(event.clone(), context));
                let answer = self.chaos.invoke("SalesImport", run).await;
                // An invocation that fails as a whole has all its messages come again.
                if let Ok(answer) = answer {
                    self.queues.settle(QUEUE, &event, &answer);
                }
            }
            if self.queues.bodies(QUEUE).is_empty() {
                return;
            }
            self.clock.advance(SignedDuration::from_mins(2));
        }
        panic!("the queue does not empty: {}", self.chaos.replay());
    }

    /// What is stored of a day, whose totals are the sum of it.
    async fn day(&self, store: &SalesStore, date: Date) -> Rows {
        let day = store.day(date).await.unwrap();
        let (mut rows, mut revenue, mut sales) = (Rows::new(), Decimal::ZERO, BTreeSet::new());
        for name in day.chunks.keys() {
            let frame = store.chunk(date, name).await.unwrap();
            let frame = frame.expect("a listed chunk exists");
            for row in StoredRows::decode(&frame).unwrap().iter() {
                let cells = row.cells.iter().filter(|cell| !cell.is_empty());
                let cells: Vec<&str> = cells.copied().collect();
                let [_, sale, _, paid] = cells[..] else {
                    panic!("a row has four cells: {cells:?}");
                };
                revenue += Decimal::from_str(paid).unwrap();
                sales.insert(sale.to_owned());
                let before = rows.insert((cells.join(","), row.ordinal), row.import);
                assert_eq!(
                    before,
                    None,
                    "{cells:?} is there twice: {}",
                    self.chaos.replay()
                );
            }
        }
        let found = (day.total.revenue, day.total.rows, day.orders);
        let sums = (revenue, rows.len() as u64, sales.len() as u64);
        assert_eq!(found, sums, "{date}: {}", self.chaos.replay());
        rows
    }

    /// Files come in, some at once, and are all that changed.
    async fn import(&mut self, processes: &Processes) {
        let files: Vec<File> = (0..=below(&self.random, 2)).map(|_| self.file()).collect();
        let mut ways = Vec::new();
        for _ in &files {
            self.puts += 1;
            ways.push((self.puts, once_in(&self.random, 3)));
        }
        let events: Vec<Value> = files.iter().map(|file| self.put(file)).collect();
        let old = once_in(&self.random, 4) && !self.events.is_empty();
        let old = old.then(|| self.events[below(&self.random, self.events.len())].clone());
        let this = &*self;
        let come = files.iter().zip(&events).zip(&ways);
        let come = come.map(|((file, event), &(key, by_api))| async move {
            if by_api {
                this.upload(processes, file, key).await;
            } else {
                this.deliver(processes, event).await;
            }
        });
        let again = async {
            if let Some(event) = &old {
                this.deliver(processes, event).await;
            }
        };
        tokio::join!(join_all(come), again);
        this.clock.advance(SignedDuration::from_secs(61));
        this.work_off(processes).await;
        let by_bucket = events
            .into_iter()
            .zip(&ways)
            .filter(|(_, (_, by_api))| !by_api);
        self.events.extend(by_bucket.map(|(event, _)| event));
        let mut wanted: BTreeMap<Date, BTreeSet<(String, i64)>> = BTreeMap::new();
        for (date, line, ordinal) in files.iter().flat_map(|file| &file.rows) {
            let before = self.stored.get(date).into_iter().flat_map(BTreeMap::keys);
            let rows = wanted
                .entry(*date)
                .or_insert_with(|| before.cloned().collect());
            rows.insert((line.clone(), *ordinal));
        }
        let store = self.store();
        for (date, rows) in wanted {
            let now = self.day(&store, date).await;
            let keys: BTreeSet<_> = now.keys().cloned().collect();
            assert_eq!(keys, rows, "{date}: {}", self.chaos.replay());
            for (row, import) in self.stored.get(&date).into_iter().flatten() {
                assert_eq!(
                    now[row],
                    *import,
                    "a stored row stays: {}",
                    self.chaos.replay()
                );
            }
            self.stored.insert(date, now);
        }
    }

    /// Some imports are taken back at once, and nothing else goes.
    async fn undo(&mut self, processes: &Processes) {
        let imports: BTreeSet<ImportId> = self
            .stored
            .values()
            .flat_map(BTreeMap::values)
            .copied()
            .collect();
        let imports: Vec<ImportId> = imports.into_iter().collect();
        if imports.is_empty() {
            return;
        }
        let gone =
            (0..=below(&self.random, 1)).map(|_| imports[below(&self.random, imports.len())]);
        let gone: BTreeSet<ImportId> = gone.collect();
        let this = &*self;
        join_all(gone.iter().map(|&id| this.take_back(processes, id))).await;
        this.clock.advance(SignedDuration::from_secs(61));
        this.work_off(processes).await;
        let store = self.store();
        for id in &gone {
            let record = store.import(*id).await.unwrap().unwrap();
            assert_eq!(record.status, Status::Deleted, "{}", self.chaos.replay());
            self.undone += 1;
        }
        let dates: Vec<Date> = self.stored.keys().copied().collect();
        for date in dates {
            let rows = self.stored.get_mut(&date).expect("it is a key");
            let before = rows.len();
            rows.retain(|_, import| !gone.contains(import));
            if rows.len() < before {
                let wanted = rows.clone();
                let now = self.day(&store, date).await;
                assert_eq!(now, wanted, "{date}: {}", self.chaos.replay());
            }
        }
    }

    /// Asks for the revenue of some days.
    async fn query(&self, processes: &Processes) {
        let first = below(&self.random, DAYS);
        let start = FIRST + i32::try_from(first).unwrap().days();
        let end = start + i32::try_from(below(&self.random, 20)).unwrap().days();
        let path = format!("/api/metrics/revenue/?start={start}&end={end}");
        let answer = processes.revenue.insist(&Ask::get(&self.admin, path)).await;
        let days = self
            .stored
            .range(start..=end)
            .flat_map(|(_, rows)| rows.keys());
        let paid = days.map(|(line, _)| line.rsplit_once(',').expect("it has cells").1);
        let sum: Decimal = paid.map(|paid| Decimal::from_str(paid).unwrap()).sum();
        let wanted = sum.normalize().to_string();
        let told = format!("\"total_revenue_sgd\":{wanted},");
        assert!(
            answer.body.contains(&told),
            "{told}: {answer:?}: {}",
            self.chaos.replay()
        );
    }
}

#[test]
fn sales_are_what_the_files_say_each_row_once() {
    paused(async {
        let mut world = World::start(seed()).await;
        let operations = sized(300, 10_000);
        let mut processes = world.processes();
        while world.chaos.invocations() < operations {
            if once_in(&world.random, 10) {
                processes = world.processes();
            }
            if once_in(&world.random, 3) {
                world.undo(&processes).await;
            } else {
                world.import(&processes).await;
            }
            world.query(&processes).await;
            world.clock.advance(SignedDuration::from_mins(20));
        }
        world.chaos.calm();
        let again = world.events.clone();
        for event in again.iter().rev().take(20) {
            world.deliver(&processes, event).await;
        }
        let store = world.store();
        let mut rows = 0;
        for (date, wanted) in &world.stored {
            assert_eq!(
                world.day(&store, *date).await,
                *wanted,
                "{}",
                world.chaos.replay()
            );
            rows += wanted.len();
        }
        assert!(
            world.queues.bodies(DEAD_LETTERS).is_empty(),
            "{}",
            world.chaos.replay()
        );
        assert_eq!(world.queues.given_up(), 0, "{}", world.chaos.replay());
        figure(CHECK, "rows stored in the end", rows);
        figure(CHECK, "imports taken back", world.undone);
        figure(CHECK, "violations", 0);
        world.chaos.report();
    });
}

#[test]
fn an_outage_is_told_in_time_and_made_up_for() {
    paused(async {
        for outage in Fault::OUTAGES {
            let mut world = World::start(seed()).await;
            world.chaos.outage(None);
            let processes = world.processes();
            Box::pin(world.import(&processes)).await;
            let file = world.file();
            let event = world.put(&file);
            world.chaos.outage(Some(outage));
            let run = |context| handle(&processes.import, LambdaEvent::new(event.clone(), context));
            let _ = Box::pin(world.chaos.invoke("SalesImport", run)).await;
            let path = "/api/metrics/revenue/?start=2025-03-01&end=2025-04-01";
            processes.revenue.ask(&Ask::get(&world.admin, path)).await;
            processes
                .sales
                .ask(&Ask::get(&world.admin, "/api/sales/imports"))
                .await;
            world.chaos.outage(None);
            world.deliver(&processes, &event).await;
            Box::pin(world.import(&processes)).await;
            let stored = world
                .day(&world.store(), file.rows.first().expect("it has rows").0)
                .await;
            assert!(!stored.is_empty(), "{outage}");
        }
    });
}
